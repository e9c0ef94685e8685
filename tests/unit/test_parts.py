"""Parts: the files of one slide, no more and no fewer."""

from pathlib import Path

import pytest

from deepsmile.parts import data_folder, parts_of


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two MRXS slides and a part of a DICOM series in one folder, as archives have them."""
    for name in ("a.mrxs", "a/Slidedat.ini", "a/Data0000.dat", "b.mrxs", "b/Index.dat", "c.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a.mrxs", {"a.mrxs", "a/Slidedat.ini", "a/Data0000.dat"}),
        ("c.dcm", {"c.dcm"}),
        ("a", {"Slidedat.ini", "Data0000.dat"}),
        (".", {"a.mrxs", "a/Slidedat.ini", "a/Data0000.dat", "b.mrxs", "b/Index.dat", "c.dcm"}),
    ],
)
def test_a_slide_has_its_own_files_and_none_of_its_neighbours(
    archive: Path, path: str, names: set[str]
) -> None:
    found = parts_of(archive / path)
    assert set(found) == names
    assert all(file.read_bytes().decode().endswith(name) for name, file in found.items())


def test_an_mrxs_without_its_folder_is_one_file(archive: Path) -> None:
    (archive / "lost.mrxs").write_bytes(b"x")
    assert parts_of(archive / "lost.mrxs") == {"lost.mrxs": archive / "lost.mrxs"}


@pytest.mark.parametrize(("name", "has"), [("a.mrxs", True), ("a.MRXS", True), ("a.svs", False)])
def test_only_an_mrxs_has_a_folder_beside_it(archive: Path, name: str, has: bool) -> None:
    (archive / name).write_bytes(b"x")
    assert data_folder(archive / name) == (archive / "a" if has else None)
