"""`deepsmile-train`: commands that make encoders, heads and bundles."""

import typer

from deepsmile.cli.edge import run
from deepsmile_training.cli.demo import demo_bundle, demo_slides
from deepsmile_training.cli.precision import precision

commands = typer.Typer(
    name="deepsmile-train",
    help="Make DeepSMILE bundles. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (demo_bundle, demo_slides, precision):
    commands.command()(command)


def app() -> None:
    """Entry point."""
    run(commands)
