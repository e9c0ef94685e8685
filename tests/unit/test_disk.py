"""Disk: files land whole or not at all, whoever else writes; and room is left."""

import os
import stat
from pathlib import Path

import pytest

from deepsmile.disk import check_room, replacing
from deepsmile.errors import StorageFull


def test_a_file_is_replaced_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_block_that_raises_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_writers_at_once_do_not_mix_their_bytes(tmp_path: Path) -> None:
    """With one name for both, the second would write into the first one's half."""
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write(b"first, and longer")
        with replacing(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first, and longer"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_others_may_read_it_as_any_file_of_ours(tmp_path: Path) -> None:
    """A Triton server runs as somebody else; a temporary file would be its owner's alone."""
    with replacing(tmp_path / "file") as file:
        file.write(b"x")
    (tmp_path / "plain").write_bytes(b"x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "plain")}
    assert len(modes) == 1


def test_a_file_of_the_longest_name_can_be_replaced(tmp_path: Path) -> None:
    with replacing(tmp_path / ("x" * 255)) as file:
        file.write(b"x")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"x"


def test_room_is_what_is_free_less_the_reserve(tmp_path: Path) -> None:
    """Within a tenth: others write to this disk as well."""
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    check_room(tmp_path, free // 2, free * 2 // 5)
    with pytest.raises(StorageFull, match="must stay so"):
        check_room(tmp_path, free // 2, free * 3 // 5)
