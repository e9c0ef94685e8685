"""Files: which file of an upload is the slide, told by its content and never by its name."""

import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from stat import S_ISLNK

from deepsmile.disk import NO_ROOM, check_room
from deepsmile.errors import (
    ArchiveUnsafe,
    SlideEmpty,
    SlideNotFound,
    SlideUnsupported,
    StorageFull,
)
from deepsmile.parts import MRXS, data_folder, parts_of
from deepsmile.slides.openslide import dicom_series

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ZIP_MAGIC = b"PK\x03\x04"
DICOM_PREAMBLE_BYTES = 128
MAX_ARCHIVE_BYTES = 64 << 30
MAX_ARCHIVE_FILES = 10_000
MAX_ARCHIVE_RATIO = 50
"""Slides hold compressed pixels: a real one hardly shrinks in a zip, a bomb by 1000."""
COPY_BYTES = 1 << 20
ONE_EACH = "Name the file of one slide, or give each slide a folder or a zip of its own."
LINKED = "Copy the linked folder into it, or link to the whole: the digest covers files only."
ENCRYPTED = 1
"""The bit of a zip member's flags that says so."""
BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises; the messages name members, which may name patients."""


def kind_of(path: Path) -> str:
    """ "tiff", "dicom", "zip", or "" for anything else, from the first bytes."""
    with path.open("rb") as file:
        head = file.read(DICOM_PREAMBLE_BYTES + 4)
    if not head:
        raise SlideEmpty("the file has no bytes")
    if head.startswith(TIFF_MAGIC):
        return "tiff"
    if head[DICOM_PREAMBLE_BYTES:] == b"DICM":
        return "dicom"
    return "zip" if head.startswith(ZIP_MAGIC) else ""


@dataclass
class _Allowance:
    """What a zip may still unpack to."""

    bytes: int
    reserve_bytes: int

    def take(self, size: int, folder: Path) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise ArchiveUnsafe("the zip unpacks to more than a slide's worth of bytes")
        check_room(folder, size, self.reserve_bytes)


def locate(path: Path, scratch: Path, *, reserve_bytes: int = 0) -> Path:
    """The file to open: `path` itself, the slide in a folder, or the slide in a zip.

    A zip is unpacked under `scratch`, which the caller removes, leaving `reserve_bytes` free. A
    file that readers would complete with its neighbours is linked there, away from them.

    Raises:
        SlideNotFound, SlideEmpty, SlideUnsupported, ArchiveUnsafe, StorageFull.
    """
    if path.is_dir():
        return _main_file(path, scratch)
    if not path.is_file():
        raise SlideNotFound("no such file")
    kind = kind_of(path)
    if kind == "zip":
        return _main_file(_unpack(path, scratch / "unpacked", reserve_bytes), scratch)
    return path if kind == "tiff" else _alone(path, scratch / "alone")


def _alone(path: Path, folder: Path) -> Path:
    """A link to `path` with none but its parts beside it.

    OpenSlide takes a DICOM slide from all files of a folder that belong to its series: among
    uploads that would be those of others, and the report's digest would not cover them.
    """
    folder.mkdir()
    link, data = folder / "slide", data_folder(path)
    if data:
        link.symlink_to(data.absolute())
        link = link.with_suffix(MRXS)
    link.symlink_to(path.absolute())
    return link


def _main_file(folder: Path, scratch: Path) -> Path:
    """The one slide of a folder: an .mrxs with its data, a TIFF, or a DICOM series' largest file.

    Any instance opens a series; the largest is a volume and neither label nor macro.

    Raises:
        SlideUnsupported: it holds none or several, which may be several patients'.
    """
    if any(path.is_symlink() and path.is_dir() for path in folder.rglob("*")):
        raise SlideUnsupported("the folder links to another folder", hint=LINKED)
    files = sorted(path for path in parts_of(folder).values() if path.stat().st_size)
    index = {path: data for path in files if (data := data_folder(path))}
    rest = [p for p in files if p not in index and not set(p.parents) & set(index.values())]
    tiffs, dicoms = ([p for p in rest if kind_of(p) == kind] for kind in ("tiff", "dicom"))
    slides = [*index, *tiffs, *_one_a_series(dicoms, scratch)]
    if not slides:
        raise SlideUnsupported("the folder or zip holds no slide")
    if len(slides) > 1:
        raise SlideUnsupported(f"the folder or zip holds {len(slides)} slides", hint=ONE_EACH)
    return slides[0]


def _one_a_series(dicoms: list[Path], scratch: Path) -> Iterable[Path]:
    """The largest file of each series that is a slide; of all, if none opens as one."""
    by_series: dict[str, Path] = {}
    for path in sorted(dicoms, key=lambda p: p.stat().st_size):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            series = dicom_series(_alone(path, Path(folder) / "alone"))
        by_series[series] = path
    slides = {series: path for series, path in by_series.items() if series}
    return (slides or by_series).values()


def _unpack(path: Path, target: Path, reserve_bytes: int) -> Path:
    """Extract a zip within bounds: sizes are counted as bytes arrive, not as the zip claims."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            if len(members) > MAX_ARCHIVE_FILES:
                raise ArchiveUnsafe(f"the zip holds {len(members)} files")
            if any(m.flag_bits & ENCRYPTED for m in members):
                raise SlideUnsupported("the zip is encrypted")
            most = min(MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO * path.stat().st_size)
            allowance = _Allowance(most, reserve_bytes)
            target.mkdir()
            for member in members:
                _extract(archive, member, target, allowance)
    except BAD_ZIP as error:
        raise SlideUnsupported(f"the zip cannot be read: {type(error).__name__}") from error
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StorageFull("no room to unpack the zip") from error
        raise SlideUnsupported(f"the zip cannot be unpacked: {error.strerror}") from error
    return target


def _extract(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, allowance: _Allowance
) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or S_ISLNK(member.external_attr >> 16):
        raise ArchiveUnsafe("the zip has a member that points outside it")
    out = target / name
    out.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, out.open("wb") as sink:
        while chunk := source.read(COPY_BYTES):
            allowance.take(len(chunk), out.parent)
            sink.write(chunk)
