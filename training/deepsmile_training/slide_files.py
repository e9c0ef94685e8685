"""Slide files: which entries of a folder are slides."""

import os
from collections import deque
from collections.abc import Iterator
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


def everything_in(folder: Path) -> Iterator[Path]:
    """All files and folders at any depth; what links lead to as well."""
    for place, folders, files in walk(folder):
        yield from (place / name for name in (*folders, *files))


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """All folders at any depth, each once, with the names of the folders and files in it, sorted.

    Links to folders are followed, after all that is not behind one.
    """
    entered: set[tuple[int, int]] = set()
    to_enter = deque([folder])
    while to_enter:
        for name, folders, files in os.walk(to_enter.popleft()):
            place, facts = Path(name), Path(name).stat()
            if (facts.st_dev, facts.st_ino) in entered:
                folders.clear()
                continue
            entered.add((facts.st_dev, facts.st_ino))
            folders.sort()
            to_enter += [place / each for each in folders if (place / each).is_symlink()]
            yield place, folders, sorted(files)
