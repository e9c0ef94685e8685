"""`deepsmile`: the commands, and how their errors are told."""

import typer

from deepsmile import __version__
from deepsmile.cli.bench import bench
from deepsmile.cli.demo import demo
from deepsmile.cli.doctor import doctor
from deepsmile.cli.edge import run
from deepsmile.cli.export import export
from deepsmile.cli.inspect import inspect
from deepsmile.cli.predict import predict
from deepsmile.cli.publish import publish
from deepsmile.cli.replay import replay
from deepsmile.cli.score import score
from deepsmile.cli.up import up

commands = typer.Typer(
    name="deepsmile",
    help="Calibrated slide-level scores from H&E whole-slide images. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (up, predict, score, inspect, bench, replay, export, publish, doctor, demo):
    commands.command()(command)


@commands.callback(invoke_without_command=True)
def version(
    show: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if show:
        typer.echo(f"deepsmile {__version__}")
        raise typer.Exit


def app() -> None:
    """Entry point."""
    run(commands)
