"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

SlidePath = Annotated[
    Path, typer.Argument(metavar="SLIDE", help="A slide file, a DICOM folder, or a zip of one.")
]
BundleName = Annotated[
    str | None, typer.Option("--bundle", help="Model bundle; the settings' default if left out.")
]
RequestedMpp = Annotated[
    float | None, typer.Option("--mpp", help="Microns per pixel of level 0, overriding the file.")
]
OutPath = Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
EXIT_ABSTAINED = 3
EXIT_DIFFERENT = 4
