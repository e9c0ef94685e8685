"""Files: which file of an upload is the slide, and what a zip may hold."""

from pathlib import Path

import numpy as np
import pytest

from deepsmile.errors import (
    SlideEmpty,
    SlideNotFound,
    SlideUnsupported,
)
from deepsmile.slides.files import kind_of, locate
from tests import hostile
from tests.dicom import dicom_instance

TIFF = b"II*\0" + bytes(200)
DICOM = bytes(128) + b"DICM" + bytes(200)
PINK = np.full((32, 48, 3), (214, 150, 196), np.uint8)
VOLUME = dicom_instance(PINK, series=1, number=1)
SMALLER = dicom_instance(PINK[:16, :24], series=1, number=2)
LABEL = dicom_instance(PINK, series=1, number=3, flavour="LABEL")
OTHER_VOLUME = dicom_instance(PINK, series=2, number=1)
OTHER_LABEL = dicom_instance(PINK, series=2, number=2, flavour="LABEL")
NOISE = np.random.default_rng(0).bytes(100_000)


def put(root: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"II+\0", "tiff"),
        (b"MM\0+", "tiff"),
        (DICOM, "dicom"),
        (b"PK\x03\x04", "zip"),
        (b"PK\x05\x06" + bytes(18), ""),
        (b"\xff\xd8\xff\xe0 a JPEG, as .mrxs are", ""),
        (b"x", ""),
        (b"DICM", ""),
    ],
)
def test_a_file_s_kind_is_told_by_its_first_bytes(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    """Never by its name: the client chose that."""
    for name in ("a.svs", "a.zip", "a.dcm", "a"):
        (tmp_path / name).write_bytes(content)
        assert kind_of(tmp_path / name) == kind


def test_no_bytes_are_an_empty_slide(tmp_path: Path, scratch: Path) -> None:
    path = put(tmp_path, {"a.svs": b""}) / "a.svs"
    with pytest.raises(SlideEmpty):
        locate(path, scratch)


@pytest.mark.parametrize("name", ["Jansen_1970.svs", "folder/Jansen.svs", "a.svs/Jansen"])
def test_a_file_that_is_not_there_is_not_named(tmp_path: Path, scratch: Path, name: str) -> None:
    """File names may name patients."""
    put(tmp_path, {"a.svs": TIFF})
    with pytest.raises(SlideNotFound) as missing:
        locate(tmp_path / name, scratch)
    assert "Jansen" not in str(missing.value)


def test_a_tiff_is_opened_where_it_is(tmp_path: Path, scratch: Path) -> None:
    path = put(tmp_path, {"a": TIFF}) / "a"
    assert locate(path, scratch) == path
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("content", [DICOM, b"anything else"])
def test_what_may_have_parts_is_opened_away_from_its_neighbours(
    tmp_path: Path, scratch: Path, content: bytes
) -> None:
    """Two uploads of one DICOM series lie side by side: neither is a part of the other."""
    put(tmp_path, {"a": content, "b": DICOM})
    found = locate(tmp_path / "a", scratch)
    assert list(found.parent.iterdir()) == [found]
    assert found.resolve() == tmp_path / "a"


@pytest.mark.parametrize("name", ["s.mrxs", "s.MRXS"])
def test_an_mrxs_brings_its_folder_along(tmp_path: Path, scratch: Path, name: str) -> None:
    put(tmp_path, {name: b"\xff\xd8", "s/Slidedat.ini": b"x", "t.mrxs": b"x", "t/x": b"x"})
    found = locate(tmp_path / name, scratch)
    assert found.suffix == ".mrxs"
    assert set(found.parent.iterdir()) == {found, found.with_suffix("")}
    assert found.resolve() == tmp_path / name
    assert found.with_suffix("").resolve() == tmp_path / "s"


def test_a_folder_with_a_linked_folder_is_refused(tmp_path: Path, scratch: Path) -> None:
    """A reader would follow the link, the digest does not."""
    put(tmp_path, {"slide/s.mrxs": b"\xff\xd8", "elsewhere/Slidedat.ini": b"x"})
    (tmp_path / "slide" / "s").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SlideUnsupported, match="links to another folder"):
        locate(tmp_path / "slide", scratch)


@pytest.mark.parametrize(
    ("contents", "slide"),
    [
        ({"a": VOLUME, "b": SMALLER, "label": LABEL, "notes.txt": b"x" * 999}, "a"),
        ({"z": SMALLER, "largest": LABEL + bytes(9999), "y": SMALLER[:-600]}, "z"),
        ({"other's": OTHER_LABEL + bytes(9999), "a": VOLUME}, "a"),
        ({"deep/er/volume": VOLUME}, "deep/er/volume"),
        ({"small": DICOM, "large": DICOM + b"+"}, "large"),
        ({"a.svs": TIFF, "readme.txt": b"x" * 999}, "a.svs"),
        ({"s.mrxs": b"\xff\xd8", "s/Data0000.dat": b"x" * 999, "s/x.tif": TIFF}, "s.mrxs"),
        ({"S.MRXS": b"\xff\xd8", "S/Index.dat": b"x"}, "S.MRXS"),
        ({"s.mrxs": b"\xff\xd8", "s/x": b"x", "__MACOSX/._s.mrxs": b"x" * 999}, "s.mrxs"),
        ({"empty.svs": b"", "a.svs": TIFF}, "a.svs"),
    ],
)
def test_the_one_slide_of_a_folder_or_zip_is_found(
    tmp_path: Path, scratch: Path, contents: dict[str, bytes], slide: str
) -> None:
    """Any instance opens a DICOM series; the largest slide is neither label nor macro."""
    folder = put(tmp_path / "folder", contents)
    assert locate(folder, scratch) == folder / slide
    archive = hostile.zip_of(tmp_path / "zip", dict(contents))
    found = locate(archive, scratch)
    assert found == scratch / "unpacked" / slide
    assert found.read_bytes() == contents[slide]


@pytest.mark.parametrize(
    ("contents", "count"),
    [
        ({"one.svs": TIFF, "two.svs": TIFF}, 2),
        ({"a/one.tif": TIFF, "b/two": TIFF, "three.ndpi": TIFF + b"+"}, 3),
        ({"s.mrxs": b"\xff\xd8", "s/x": b"x", "t.mrxs": b"\xff\xd8", "t/x": b"x"}, 2),
        ({"s.mrxs": b"\xff\xd8", "s/x": b"x", "a.svs": TIFF}, 2),
        ({"s.mrxs": b"\xff\xd8", "s/x": b"x", "a.dcm": VOLUME}, 2),
        ({"a.svs": TIFF, "a.dcm": VOLUME, "label.dcm": LABEL}, 2),
        ({"a.dcm": VOLUME, "label.dcm": LABEL, "b/a.dcm": OTHER_VOLUME}, 2),
    ],
)
def test_several_slides_are_never_scored_as_one(
    tmp_path: Path, scratch: Path, contents: dict[str, bytes], count: int
) -> None:
    """They may be several patients'; which of them was meant nobody can know."""
    folder = put(tmp_path / "folder", contents)
    for path in (folder, hostile.zip_of(tmp_path / "zip", dict(contents))):
        with pytest.raises(SlideUnsupported, match=f"holds {count} slides") as refused:
            locate(path, scratch)
        assert "Name the file of one slide" in refused.value.hint


@pytest.mark.parametrize(
    "contents", [{}, {"a.txt": b"x"}, {"a.svs": b""}, {"a.zip": b"PK\x03\x04"}]
)
def test_a_folder_without_a_slide_is_unsupported(
    tmp_path: Path, scratch: Path, contents: dict[str, bytes]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(SlideUnsupported, match="holds no slide"):
        locate(put(folder, contents), scratch)


def test_a_link_to_a_slide_is_followed(tmp_path: Path, scratch: Path) -> None:
    """Archives keep slides behind links; the path came from an allowed root."""
    put(tmp_path, {"real.svs": TIFF})
    (tmp_path / "link.svs").symlink_to("real.svs")
    assert locate(tmp_path / "link.svs", scratch) == tmp_path / "link.svs"
