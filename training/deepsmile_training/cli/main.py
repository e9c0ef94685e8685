"""`deepsmile-train`: commands that make encoders, heads and bundles."""

import os

import typer

from deepsmile.cli.edge import run
from deepsmile.errors import BackendMissing
from deepsmile_training.cli import cohorts, encoders, pretrain
from deepsmile_training.cli.bundle import bundle
from deepsmile_training.cli.demo import demo_bundle, demo_slides
from deepsmile_training.cli.evidence import evidence
from deepsmile_training.cli.experiments import figure, table
from deepsmile_training.cli.features import features
from deepsmile_training.cli.precision import precision
from deepsmile_training.cli.tiles import tiles

commands = typer.Typer(
    name="deepsmile-train",
    help="Make DeepSMILE bundles. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
commands.add_typer(cohorts.cohort, name="cohort")
for command in (
    cohorts.split,
    cohorts.gdc_manifest,
    tiles,
    pretrain.pretrain,
    encoders.probe,
    encoders.export_encoder,
    features,
    table,
    figure,
    evidence,
    bundle,
    precision,
    demo_bundle,
    demo_slides,
):
    commands.command()(command)


def app() -> None:
    """Entry point."""
    # Idle threads sleep instead of spinning: on shared cores the spinning costs more than it saves.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    run(_commands)


def _commands() -> None:
    try:
        commands()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("deepsmile"):
            raise
        hint = "Install the extra for training: pip install 'deepsmile[train]'."
        raise BackendMissing(f"{error.name} is not installed", hint=hint) from error


if __name__ == "__main__":
    app()
