"""Sources: which slides there are, whose they are, and what is said of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepsmile.errors import SlideNotFound
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.slides import as_listed, spellings
from deepsmile_training.cohorts.tcga_barcode import Barcode, parse_barcode
from deepsmile_training.cohorts.untouched import Untouched, hashed_slide
from deepsmile_training.slide_files import SLIDE_SUFFIXES, everything_in, slides_in
from deepsmile_training.tilesets.manifest import Manifest, Row
from deepsmile_training.tilesets.shard import Dropped

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
NOT_FOUND = "slide_not_found"
"""Code of a slide that a manifest names and no source has."""


@dataclass(frozen=True)
class Entry:
    """A slide to pack."""

    name: str
    case: str
    files: tuple[Path, ...]
    """The slide, or its tile images."""
    labels: dict[str, str] = field(default_factory=dict)
    mpp: float | None = None
    """Microns per pixel of level 0, overriding the file's."""


@dataclass(frozen=True)
class Sources:
    """What was found."""

    entries: tuple[Entry, ...]
    dropped: tuple[Dropped, ...]


def find_slides(places: Sequence[Path], manifest: Manifest | None) -> Sources:
    """Slides of folders, or files; with a manifest only those that it names.

    Raises:
        SlideNotFound: a place does not exist.
    """
    found = [path for place in places for path in _slides_below(place, set())]
    return _matched([Entry(_name_of(path), "", (path,)) for path in found], manifest)


def find_images(places: Sequence[Path], manifest: Manifest | None) -> Sources:
    """Tile images of folders, slide by slide; with a manifest only of the slides it names.

    An image whose name holds a TCGA slide barcode is of that slide, its folder names the class
    and the folder above that the split, as in Kather's TCGA-CRCk; of others the folder is the
    slide.

    Raises:
        SlideNotFound: a place does not exist.
    """
    slides: dict[str, list[Path]] = {}
    odd: list[Path] = []
    for place in places:
        if not place.is_dir():
            raise SlideNotFound(f"{place}: no such folder")
        for path in sorted(everything_in(place.absolute())):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if path.is_file():
                slides.setdefault(_slide_of_image(path), []).append(path)
            else:
                odd.append(path)
    found = _matched([_image_entry(name, files) for name, files in slides.items()], manifest)
    no_files = [_no_file(path) for path in odd if path.name not in slides]
    return Sources(found.entries, (*found.dropped, *no_files))


def without_tested(found: Sources, untouched: Untouched) -> Sources:
    """Without the slides of test patients; they are listed with that reason."""
    kept = [one for one in found.entries if not untouched.has(hashed_slide(one.name, one.case))]
    left_out = [
        _drop(one.name, "test_patient", "its patient is tested")
        for one in found.entries
        if one not in kept
    ]
    return Sources(tuple(kept), (*found.dropped, *left_out))


def _case_of(slide: str) -> str:
    """The TCGA patient in a slide's name; else every slide is a case."""
    barcode = _barcode_of(slide)
    return barcode.patient if barcode else slide


def _barcode_of(name: str) -> Barcode | None:
    try:
        return parse_barcode(name)
    except CohortInvalid:
        return None


def _slides_below(place: Path, entered: set[Path]) -> Iterator[Path]:
    """The slides of a folder and of those in it, each once; files of other kinds are none."""
    if place.resolve() in entered:
        return
    entered.add(place.resolve())
    for path in slides_in(place):
        if path.is_dir() and path != place:
            yield from _slides_below(path, entered)
        elif path == place or path.suffix.lower() in SLIDE_SUFFIXES:
            yield path


def _name_of(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _names_of(entry: Entry) -> tuple[str, ...]:
    """How a manifest may name it: the slide, or its file with the suffix."""
    return *spellings(entry.name), *spellings(entry.files[0].name)[:2]


def _slide_of_image(path: Path) -> str:
    barcode = _barcode_of(path.stem)
    return barcode.slide if barcode and barcode.slide else path.parent.name


def _image_entry(name: str, files: list[Path]) -> Entry:
    folder = files[0].parent
    if folder.name == name:
        return Entry(name, "", tuple(files))
    return Entry(name, "", tuple(files), {"class": folder.name, "split": folder.parent.name})


def _matched(found: Sequence[Entry], manifest: Manifest | None) -> Sources:
    """Entries with their rows; those that have none, or share a name, are dropped."""
    rows = {row.name: row for row in manifest.rows} if manifest else {}
    listed = as_listed(rows)
    entries: dict[str, Entry] = {}
    named: set[str] = set()
    dropped: list[Dropped] = []
    for entry in (*found, *_named_by_path(manifest, found)):
        name = next((listed[each] for each in _names_of(entry) if each in listed), "")
        row = rows.get(name)
        if manifest and row is None:
            dropped.append(_drop(entry.name, "not_listed", "the manifest does not name it"))
        elif entry.name in entries:
            dropped.append(_drop(entry.name, "name_twice", "another slide has this name"))
        elif _folders(entry) > 1:
            dropped.append(_drop(entry.name, "two_folders", "its tiles lie in two folders"))
        else:
            entries[entry.name] = _with_row(entry, row)
            named.add(name)
    missing = [name for name in rows if name not in named]
    dropped += [_drop(name, NOT_FOUND, "the manifest names it") for name in missing]
    return Sources(tuple(sorted(entries.values(), key=lambda e: e.name)), tuple(dropped))


def _named_by_path(manifest: Manifest | None, found: Sequence[Entry]) -> Iterator[Entry]:
    """Slides that a manifest names by their paths from its own folder, unless found already."""
    if manifest is None:
        return
    known = {path.resolve() for entry in found for path in entry.files}
    for row in manifest.rows:
        path = (manifest.folder / row.slide).resolve()
        if path.suffix.lower() in SLIDE_SUFFIXES and path.exists() and path not in known:
            yield Entry(_name_of(path), "", (path,))


def _folders(entry: Entry) -> int:
    return len({path.parent for path in entry.files})


def _with_row(entry: Entry, row: Row | None) -> Entry:
    case = (row.case if row else "") or _case_of(entry.name)
    labels, mpp = (entry.labels | row.labels, row.mpp) if row else (entry.labels, None)
    return Entry(entry.name, case, entry.files, labels, mpp)


def _no_file(path: Path) -> Dropped:
    detail = "a folder" if path.is_dir() else "a link that leads to no file"
    slide = _slide_of_image(path)
    return Dropped(slide=slide, tile=path.name, code="tile_unreadable", detail=detail)


def _drop(name: str, code: str, detail: str) -> Dropped:
    return Dropped(slide=name, tile=None, code=code, detail=detail)
