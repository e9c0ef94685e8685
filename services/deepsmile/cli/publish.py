"""`deepsmile publish`: roll a bundle out, or back."""

from pathlib import Path
from typing import Annotated

import typer

from deepsmile.publishing import publish as publish_bundle
from deepsmile.settings import Settings


def publish(
    file: Annotated[
        Path,
        typer.Argument(
            help="NAME.bundle.json of another repository, or NAME@VERSION.bundle.json of this one.",
            exists=True,
            dir_okay=False,
        ),
    ],
    repository: Annotated[
        Path | None, typer.Option(help="Model repository; the settings' if left out.")
    ] = None,
) -> None:
    """Verify a bundle and make it the current one of its name; the former stays beside it."""
    bundle = publish_bundle(file, repository or Settings().model_repository)
    typer.echo(f"{bundle.name} {bundle.file.version} is current (digest {bundle.digest[:16]})")
