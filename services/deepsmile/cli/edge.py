"""Edge: where commands end, and how their errors are told."""

import sys
from collections.abc import Callable

import typer

from deepsmile.errors import DeepSmileError

EXIT_ERROR = 1


def run(commands: Callable[[], object]) -> None:
    """Run the command line; our errors are one line of what, one of what next, and exit code 1."""
    try:
        commands()
    except DeepSmileError as error:
        typer.secho(f"{error.code}: {error.detail}", fg="red", err=True)
        typer.echo(error.hint, err=True)
        sys.exit(EXIT_ERROR)
