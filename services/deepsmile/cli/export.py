"""`deepsmile export`: make a model repository ready for a Triton server."""

from pathlib import Path
from typing import Annotated

import typer

from deepsmile.errors import BundleUnknown
from deepsmile.settings import Settings
from deepsmile.triton.config import Target, write_configs


def export(
    target: Annotated[
        Target | None,
        typer.Option(help="What the server will run on; a GPU, if it was never said here."),
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(help="Model repository; the settings' if left out.")
    ] = None,
) -> None:
    """Write each model's config.pbtxt, and nothing else."""
    folder = repository or Settings().model_repository
    written = write_configs(folder, target)
    if not written:
        raise BundleUnknown(
            f"there is no bundle and no encoder in {folder}",
            hint="Name the folder with --repository, or DEEPSMILE_MODEL_REPOSITORY.",
        )
    for path in written:
        typer.echo(path)
