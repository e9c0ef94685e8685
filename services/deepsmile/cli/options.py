"""Options that several commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer

from deepsmile.errors import RequestInvalid


def writable(path: Path | None) -> Path | None:
    """Refuse before the work what could not be written after it.

    Raises:
        RequestInvalid: a folder, or a file where none can be made.
    """
    if path is None:
        return None
    try:
        is_fine = not path.is_dir() and path.parent.is_dir()
    except OSError:  # a folder that we may not enter, a name too long
        is_fine = False
    if not is_fine or not os.access(path if path.exists() else path.parent, os.W_OK):
        hint = "Name a file in a folder that is there and that you may write to."
        raise RequestInvalid(f"{path} cannot be written", hint=hint)
    return path


def write(path: Path, content: bytes) -> None:
    """Write a result that was shown already; raises RequestInvalid if that fails after all."""
    try:
        path.write_bytes(content)
    except OSError as error:
        hint = "Name another file; what should be in it was shown above."
        raise RequestInvalid(f"{path} was not written: {error.strerror}", hint=hint) from error


SlidePath = Annotated[
    Path, typer.Argument(metavar="SLIDE", help="A slide file, a DICOM folder, or a zip of one.")
]
BundleName = Annotated[
    str | None, typer.Option("--bundle", help="Model bundle; the settings' default if left out.")
]
RequestedMpp = Annotated[
    float | None, typer.Option("--mpp", help="Microns per pixel of level 0, overriding the file.")
]
OutPath = Annotated[
    Path | None, typer.Option(help="Write the report here, as JSON.", callback=writable)
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
EXIT_ABSTAINED = 3
EXIT_DIFFERENT = 4
