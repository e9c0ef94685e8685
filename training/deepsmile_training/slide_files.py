"""Slide files: which entries of a folder are slides."""

from pathlib import Path

from deepsmile.errors import SlideNotFound
from deepsmile.parts import data_folder
from deepsmile.slides.files import kind_of

SLIDE_SUFFIXES = frozenset(
    (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".dcm", ".zip")
)
"""Of files that may be slides, among others of any kind."""


def slides_in(place: Path) -> list[Path]:
    """The slides of a folder, by name; or `place` itself, a file or the folder of a DICOM slide."""
    if not place.exists():
        raise SlideNotFound(f"{place}: no such file")
    if place.is_file():
        return [place]
    entries = sorted(path for path in place.iterdir() if not path.name.startswith("."))
    if any(path.is_file() and path.stat().st_size and kind_of(path) == "dicom" for path in entries):
        return [place]
    data = {data_folder(path) for path in entries}
    return [path for path in entries if path not in data]
