"""Files: which file of an upload is the slide, told by its content and never by its name."""

import zipfile
import zlib
from errno import ENOSPC
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from stat import S_ISLNK

from deepsmile.errors import (
    ArchiveUnsafe,
    SlideEmpty,
    SlideNotFound,
    SlideUnsupported,
    StorageFull,
)

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ZIP_MAGIC = b"PK\x03\x04"
DICOM_PREAMBLE_BYTES = 128
MAX_ARCHIVE_BYTES = 64 << 30
MAX_ARCHIVE_FILES = 10_000
MAX_ARCHIVE_RATIO = 50
"""Slides hold compressed pixels: a real one hardly shrinks in a zip, a bomb by 1000."""
COPY_BYTES = 1 << 20
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


def locate(path: Path, scratch: Path) -> Path:
    """The file to open: `path` itself, the slide in a folder, or the slide in a zip.

    A zip is unpacked under `scratch`, which the caller removes.

    Raises:
        SlideNotFound, SlideEmpty, SlideUnsupported, ArchiveUnsafe, StorageFull.
    """
    if path.is_dir():
        return _main_file(path)
    if not path.is_file():
        raise SlideNotFound("no such file")
    if kind_of(path) == "zip":
        return _main_file(_unpack(path, scratch / "unpacked"))
    return path


def _main_file(folder: Path) -> Path:
    """The .mrxs of a folder, or else its largest DICOM or TIFF file.

    Any instance opens a DICOM series; the largest is a volume and neither label nor macro.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
    index = [p for p in files if p.suffix.lower() == ".mrxs"]
    slides = index or [p for p in files if kind_of(p) in ("dicom", "tiff")]
    if not slides:
        raise SlideUnsupported("the folder or zip holds no slide")
    return max(slides, key=lambda p: p.stat().st_size)


def _unpack(path: Path, target: Path) -> Path:
    """Extract a zip within bounds: sizes are counted as bytes arrive, not as the zip claims."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            if len(members) > MAX_ARCHIVE_FILES:
                raise ArchiveUnsafe(f"the zip holds {len(members)} files")
            if any(m.flag_bits & ENCRYPTED for m in members):
                raise SlideUnsupported("the zip is encrypted")
            allowed = min(MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO * path.stat().st_size)
            for member in members:
                allowed -= _extract(archive, member, target, allowed)
    except BAD_ZIP as error:
        raise SlideUnsupported(f"the zip cannot be read: {type(error).__name__}") from error
    except OSError as error:
        if error.errno == ENOSPC:
            raise StorageFull("no room to unpack the zip") from error
        raise SlideUnsupported(f"the zip cannot be unpacked: {error.strerror}") from error
    return target


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, allowed: int) -> int:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or S_ISLNK(member.external_attr >> 16):
        raise ArchiveUnsafe("the zip has a member that points outside it")
    out = target / name
    out.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with archive.open(member) as source, out.open("wb") as sink:
        while chunk := source.read(COPY_BYTES):
            size += len(chunk)
            if size > allowed:
                raise ArchiveUnsafe("the zip unpacks to more than a slide's worth of bytes")
            sink.write(chunk)
    return size
