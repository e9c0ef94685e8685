"""`deepsmile export`: make a model repository ready for a Triton server."""

from pathlib import Path
from typing import Annotated

import typer

from deepsmile.settings import Settings
from deepsmile.triton.config import Target, write_configs


def export(
    target: Annotated[Target, typer.Option(help="What the server will run on.")] = Target.GPU,
    repository: Annotated[
        Path | None, typer.Option(help="Model repository; the settings' if left out.")
    ] = None,
) -> None:
    """Write each model's config.pbtxt, and nothing else."""
    for path in write_configs(repository or Settings().model_repository, target):
        typer.echo(path)
