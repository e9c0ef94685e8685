"""Zips: hostile and damaged ones are refused, whatever they claim."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsmile.errors import (
    ArchiveUnsafe,
    DeepSmileError,
    SlideUnsupported,
    StorageFull,
)
from deepsmile.slides import files
from deepsmile.slides.files import locate
from tests import hostile
from tests.unit.slides.test_files import NOISE, TIFF


@pytest.mark.parametrize(
    "name",
    ["../a.svs", "/a.svs", "a/../../a.svs", "..", "..\\a.svs", "\\a.svs", "a\\..\\..\\b.svs"],
)
def test_a_member_that_points_outside_is_refused(tmp_path: Path, scratch: Path, name: str) -> None:
    """Zip slip, with either slash."""
    archive = hostile.zip_of(tmp_path / "zip", {"good.svs": TIFF, name: TIFF})
    before = {path for path in tmp_path.rglob("*") if scratch not in path.parents}
    with pytest.raises(ArchiveUnsafe, match="points outside"):
        locate(archive, scratch)
    assert {path for path in tmp_path.rglob("*") if scratch not in path.parents} == before


def test_a_link_is_refused(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(ArchiveUnsafe, match="points outside"):
        locate(hostile.zip_with_link(tmp_path / "zip", "/etc/passwd"), scratch)


def test_a_bomb_stops_at_fifty_times_its_own_size(tmp_path: Path, scratch: Path) -> None:
    """Bytes are counted as they arrive; the disk never holds much more than is allowed."""
    archive = hostile.zip_of(tmp_path / "zip", {"a.svs": TIFF, "b.svs": bytes(15 << 20)})
    with pytest.raises(ArchiveUnsafe, match="more than a slide's worth"):
        locate(archive, scratch)
    written = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
    assert written <= 50 * archive.stat().st_size + files.COPY_BYTES


def test_a_bomb_of_many_small_members_counts_them_together(tmp_path: Path, scratch: Path) -> None:
    archive = hostile.zip_of(tmp_path / "zip", {f"{i}.svs": bytes(1 << 20) for i in range(15)})
    with pytest.raises(ArchiveUnsafe, match="more than a slide's worth"):
        locate(archive, scratch)


def test_unpacking_leaves_the_reserve_of_the_disk(tmp_path: Path, scratch: Path) -> None:
    """A disk that is full stops the database and every upload, not this slide alone."""
    archive = hostile.zip_of(tmp_path / "zip", {"a.svs": TIFF})
    with pytest.raises(StorageFull, match="must stay so") as full:
        locate(archive, scratch, reserve_bytes=1 << 62)
    assert full.value.retryable
    assert sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file()) == 0


def test_a_zip_that_lies_about_its_sizes_is_not_believed(tmp_path: Path, scratch: Path) -> None:
    """The headers claim 10 bytes; zipfile stops there and finds the checksum wrong."""
    archive = hostile.zip_of(tmp_path / "zip", {"a.svs": TIFF + NOISE})
    data = bytearray(archive.read_bytes())
    true = (len(TIFF) + len(NOISE)).to_bytes(4, "little")
    assert data.count(true) == 2
    archive.write_bytes(data.replace(true, (10).to_bytes(4, "little")))
    with pytest.raises(SlideUnsupported, match="cannot be read"):
        locate(archive, scratch)


def test_ten_thousand_members_are_too_many(tmp_path: Path, scratch: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        for index in range(files.MAX_ARCHIVE_FILES + 1):
            archive.writestr(str(index), b"")
    with pytest.raises(ArchiveUnsafe, match="holds 10001 files"):
        locate(tmp_path / "zip", scratch)
    assert list(scratch.iterdir()) == []


def corrupt_data(path: Path) -> Path:
    archive = hostile.zip_of(path, {"Jansen.svs": TIFF + NOISE})
    hostile.overwrite(archive, 1000, bytes(500))
    return archive


def bad_deflate(path: Path) -> Path:
    """A block of type 3, which deflate does not have."""
    archive = hostile.zip_of(path, {"Jansen.svs": TIFF + NOISE})
    hostile.overwrite(archive, 30 + len("Jansen.svs"), b"\xff" * 64)
    return archive


def cut(path: Path) -> Path:
    archive = hostile.zip_of(path, {"Jansen.svs": TIFF + NOISE})
    return hostile.truncated(archive, archive.stat().st_size // 2)


def unknown_method(path: Path) -> Path:
    archive = hostile.zip_of(path, {"Jansen.svs": TIFF})
    data = bytearray(archive.read_bytes())
    for magic, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = data.find(magic) + at
        data[place : place + 2] = (99).to_bytes(2, "little")
    archive.write_bytes(data)
    return archive


@pytest.mark.parametrize(
    "make",
    [
        corrupt_data,
        bad_deflate,
        cut,
        unknown_method,
        lambda path: hostile.encrypted(hostile.zip_of(path, {"Jansen.svs": TIFF})),
        lambda path: hostile.zip_of(path, {"Jansen": TIFF, "Jansen/b.svs": TIFF}),
        lambda path: hostile.zip_of(path, {"Jansen" * 50: TIFF}),
        lambda path: hostile.zip_of(path, {"in.zip": b"PK\x03\x04", "Jansen.txt": b"x"}),
        lambda path: hostile.zip_of(path, {"Jansen/": b"", ".": TIFF}),
    ],
    ids=["corrupt", "deflate", "cut", "method", "encrypted", "clash", "long", "nested", "dot"],
)
def test_a_zip_that_cannot_be_unpacked_is_unsupported_and_names_nobody(
    tmp_path: Path, scratch: Path, make: Callable[[Path], Path]
) -> None:
    """HOUSE STYLE 24: every one has a code of ours; and member names may name patients."""
    with pytest.raises(DeepSmileError) as refused:
        locate(make(tmp_path / "zip"), scratch)
    assert isinstance(refused.value, SlideUnsupported)
    assert "Jansen" not in refused.value.detail
