"""Which slides there are, whose they are, and what is said of them."""

from pathlib import Path

import pytest

from deepsmile.errors import RequestInvalid, SlideNotFound
from deepsmile_training.tilesets.manifest import read_manifest
from deepsmile_training.tilesets.sources import Sources, find_images, find_slides
from tests.training.cohorts.tables import UUID, slide_name


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def reasons(found: Sources) -> dict[str, str]:
    return {one.slide: one.code for one in found.dropped}


def test_slides_are_found_in_folders_of_folders_and_papers_are_none(tmp_path: Path) -> None:
    """As the GDC client leaves them: a folder per slide, with logs and annotations."""
    slide = "TCGA-A1-A0SE-01Z-00-DX1.04B09232.svs"
    touch(
        tmp_path, f"0b1c/{slide}", "0b1c/logs/x.parcel", "0b1c/annotations.txt", "b.ndpi", "c.csv"
    )
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "1").write_bytes(b"\0" * 128 + b"DICM")
    found = find_slides([tmp_path], None)
    assert [(entry.name, entry.case) for entry in found.entries] == [
        ("TCGA-A1-A0SE-01Z-00-DX1.04B09232", "TCGA-A1-A0SE"),
        ("b", "b"),
        ("dicom", "dicom"),
    ]
    assert found.dropped == ()


def test_slides_behind_links_are_found_once_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "deep/a.svs", "b.svs")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "all").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "deep" / "circle").symlink_to(tmp_path / "folder")
    (tmp_path / "disk" / "other circle").symlink_to(tmp_path / "disk")
    found = find_slides([tmp_path / "folder"], None)
    assert [entry.name for entry in found.entries] == ["a", "b"]
    assert found.dropped == ()


def test_tile_images_behind_links_are_found_once(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "slide1/1.png", "slide1/2.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "all").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "slide1" / "circle").symlink_to(tmp_path / "images")
    (entry,) = find_images([tmp_path / "images"], None).entries
    place = tmp_path / "images" / "all" / "slide1"
    assert (entry.name, entry.files) == ("slide1", (place / "1.png", place / "2.png"))


def test_a_file_given_by_name_is_a_slide_whatever_it_is_called(tmp_path: Path) -> None:
    touch(tmp_path, "slide.bin")
    assert find_slides([tmp_path / "slide.bin"], None).entries[0].name == "slide"
    with pytest.raises(SlideNotFound, match="nowhere"):
        find_slides([tmp_path / "nowhere"], None)
    with pytest.raises(SlideNotFound, match="nowhere"):
        find_images([tmp_path / "nowhere"], None)


def test_a_manifest_selects_and_says_case_and_labels(tmp_path: Path) -> None:
    """By name, by file name, or by path from its own folder; what has no slide is listed."""
    touch(tmp_path, "slides/a.svs", "slides/b.svs", "slides/d.svs", "more/c.tif")
    table = tmp_path / "slides.csv"
    table.write_text(
        "slide,case,msi,mpp\na,P1,MSI-H,0.25\nb.svs,P1,,\nmore/c.tif,,MSS,\nz.svs,P9,MSS,\n"
    )
    found = find_slides([tmp_path / "slides"], read_manifest(table))
    assert [(e.name, e.case, e.labels, e.mpp) for e in found.entries] == [
        ("a", "P1", {"msi": "MSI-H", "mpp": "0.25"}, 0.25),
        ("b", "P1", {}, None),
        ("c", "c", {"msi": "MSS"}, None),
    ]
    assert reasons(found) == {"d": "not_listed", "z.svs": "slide_not_found"}


def test_a_manifest_alone_names_slides_by_their_paths(tmp_path: Path) -> None:
    touch(tmp_path, "more/c.tif")
    (tmp_path / "slides.tsv").write_text("slide\tcase\nmore/c.tif\tP2\n")
    found = find_slides([], read_manifest(tmp_path / "slides.tsv"))
    assert [(e.name, e.case, e.files) for e in found.entries] == [
        ("c", "P2", (tmp_path / "more" / "c.tif",))
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,case\na,1\n", "no column slide"),
        ("slide,case\nx/a.svs,1\ny/a.svs,2\n", "slide a.svs stands there twice"),
        ("slide,mpp\na,wide\n", "slides.csv, a, mpp: 'wide' is not a number"),
        ("slide,case\n,1\n", "a row without a slide"),
    ],
)
def test_a_wrong_manifest_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "slides.csv").write_text(text)
    with pytest.raises(RequestInvalid, match=complaint):
        read_manifest(tmp_path / "slides.csv")


def test_two_slides_of_one_name_are_one_and_a_reason(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.svs", "y/a.svs")
    found = find_slides([tmp_path], None)
    assert [entry.files[0].parent.name for entry in found.entries] == ["x"]
    assert reasons(found) == {"a": "name_twice"}


def test_kather_s_layout_gives_slide_patient_class_and_split(tmp_path: Path) -> None:
    """TCGA-CRCk: SPLIT/CLASS/blk-CODE-BARCODE.png (Kather et al. 2019)."""
    one, other = "TCGA-AA-3495-01Z-00-DX1", "TCGA-G4-6309-01Z-00-DX1"
    touch(
        tmp_path,
        f"CRC_DX_TRAIN/MSS/blk-AAAA-{one}.png",
        f"CRC_DX_TRAIN/MSS/blk-BBBB-{one}.png",
        f"CRC_DX_TEST/MSIMUT/blk-CCCC-{other}.png",
    )
    found = find_images([tmp_path], None)
    assert [(e.name, e.case, len(e.files), e.labels) for e in found.entries] == [
        (one, "TCGA-AA-3495", 2, {"class": "MSS", "split": "CRC_DX_TRAIN"}),
        (other, "TCGA-G4-6309", 1, {"class": "MSIMUT", "split": "CRC_DX_TEST"}),
    ]
    touch(tmp_path, f"CRC_DX_TEST/MSIMUT/blk-DDDD-{one}.png")
    assert reasons(find_images([tmp_path], None)) == {one: "two_folders"}


def test_other_images_are_of_the_slide_that_their_folder_names(tmp_path: Path) -> None:
    touch(tmp_path, "tiles/s1/1_2.jpg", "tiles/s1/3_4.JPG", "tiles/s2/5_6.png", "tiles/s2/a.txt")
    (tmp_path / "slides.csv").write_text("slide,case,organ\ns1,C,colon\ns2,C,\n")
    found = find_images([tmp_path], read_manifest(tmp_path / "slides.csv"))
    assert [(e.name, e.case, len(e.files), e.labels) for e in found.entries] == [
        ("s1", "C", 2, {"organ": "colon"}),
        ("s2", "C", 1, {}),
    ]


def test_a_manifest_names_slides_as_the_gdc_does_not(tmp_path: Path) -> None:
    """BARCODE for BARCODE.UUID.svs; and the case of a suffix, or how an umlaut is coded."""
    barcode = slide_name("A1-A0SE")
    touch(tmp_path, f"0b1c/{barcode}.{UUID}.svs", "b.SVS", "u\u0308.tif")
    table = tmp_path / "slides.csv"
    table.write_text(f"slide,case\n{barcode},P1\nb.svs,P2\nü,P3\nc.svs,P4\n")
    found = find_slides([tmp_path], read_manifest(table))
    assert {entry.name: entry.case for entry in found.entries} == {
        f"{barcode}.{UUID}": "P1",
        "b": "P2",
        "u\u0308": "P3",
    }
    assert reasons(found) == {"c.svs": "slide_not_found"}
