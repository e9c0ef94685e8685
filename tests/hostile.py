"""Makers of files that lie, break off or blow up; what an upload may bring any day."""

import os
import stat
import zipfile
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

FORMATS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
"""numpy's letters for the TIFF types BYTE, SHORT, LONG, LONG8."""

WIDTH, LENGTH, TILE_WIDTH, TILE_LENGTH, OFFSETS, COUNTS = 256, 257, 322, 323, 324, 325


def patch_tag(path: Path, tag: int, value: int, *, page: int = 0, index: int = 0) -> Path:
    """Overwrite one value of a tag in place, and nothing else of the file."""
    with tifffile.TiffFile(path) as tiff:
        found = tiff.pages[page].tags[tag]
        letter = FORMATS[int(found.dtype)]
        order, offset = tiff.byteorder, found.valueoffset
    data = np.array([value], order + letter).tobytes()
    overwrite(path, offset + index * len(data), data)
    return path


def patch_tag_count(path: Path, tag: int, count: int, *, page: int = 0) -> Path:
    """Overwrite how many values a tag claims to have."""
    with tifffile.TiffFile(path) as tiff:
        offset, order = tiff.pages[page].tags[tag].offset, tiff.byteorder
    overwrite(path, offset + 4, np.array([count], order + "u4").tobytes())
    return path


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Put bytes at a place in a file; its size stays."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def tile_range(path: Path, index: int, page: int = 0) -> tuple[int, int]:
    """(offset, size) in bytes of a stored tile."""
    with tifffile.TiffFile(path) as tiff:
        found = tiff.pages[page]
        return found.dataoffsets[index], found.databytecounts[index]


def zero_tile(path: Path, index: int, page: int = 0) -> Path:
    """Zero the bytes of a stored tile: no decoder can make sense of it."""
    offset, size = tile_range(path, index, page)
    overwrite(path, offset, bytes(size))
    return path


def hollow_tile(path: Path, index: int, page: int = 0) -> Path:
    """Zero a stored tile but for its first and last 32 bytes, past a check of its markers."""
    offset, size = tile_range(path, index, page)
    overwrite(path, offset + 32, bytes(size - 64))
    return path


def drop_tile(path: Path, index: int, page: int = 0) -> Path:
    """A sparse file: offset and size of one tile are 0."""
    patch_tag(path, OFFSETS, 0, page=page, index=index)
    return patch_tag(path, COUNTS, 0, page=page, index=index)


def loop_pages(path: Path) -> Path:
    """Let the last page say that the first follows it."""
    with tifffile.TiffFile(path) as tiff:
        first, last, order = tiff.pages[0].offset, tiff.pages[-1].offset, tiff.byteorder
        entries = len(tiff.pages[-1].tags)
    overwrite(path, last + 2 + 12 * entries, np.array([first], order + "u4").tobytes())
    return path


def truncated(path: Path, size: int) -> Path:
    """Cut a file short."""
    os.truncate(path, size)
    return path


def mutated(data: bytes, rng: np.random.Generator, header_bytes: int) -> bytes:
    """One to eight random bytes of the first `header_bytes` changed."""
    changed = bytearray(data)
    for place in rng.integers(0, min(header_bytes, len(data)), rng.integers(1, 9)):
        changed[place] = int(rng.integers(256))
    return bytes(changed)


def zip_of(path: Path, members: dict[str, bytes | Path]) -> Path:
    """A deflated zip with the members' names exactly as given."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def zip_with_link(path: Path, target: str) -> Path:
    """A zip of one symbolic link."""
    link = zipfile.ZipInfo("slide.svs")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, target)
    return path


def encrypted(path: Path) -> Path:
    """Set the bit that says "encrypted" in every header of a zip."""
    data = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.find(magic)
        while place >= 0:
            data[place + at] |= 1
            place = data.find(magic, place + 4)
    path.write_bytes(data)
    return path


def write_endless(path: Path, tiles: int) -> Path:
    """A valid slide of `tiles` x `tiles` stored tiles of pink noise, one level: slow to look at."""
    noise = np.random.default_rng(0).normal(0, 4, (256, 256, 1)) + np.array([214.0, 150.0, 196.0])
    tile = imagecodecs.jpeg8_encode(noise.clip(0, 255).astype(np.uint8), level=80)
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            (tile for _ in range(tiles * tiles)),
            shape=(tiles * 256, tiles * 256, 3),
            dtype=np.uint8,
            tile=(256, 256),
            compression="jpeg",
            photometric="ycbcr",
            subsampling=(2, 2),
            resolution=(40_000, 40_000),
            resolutionunit="CENTIMETER",
            metadata=None,
        )
    return path
