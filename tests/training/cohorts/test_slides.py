"""Slides on disk and in manifests: found, missing by name, never guessed."""

from pathlib import Path
from unicodedata import normalize

import pytest

from deepsmile_training.cohorts.cohort import Cohort, make_cohort
from deepsmile_training.cohorts.gdc import choose_files, read_manifest, write_manifest
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.slides import match_names, match_slides, slide_name, twins

from .people import person
from .tables import UUID, write_gdc
from .tables import slide_name as slide_name_of


def cohort_of(*slides: str) -> Cohort:
    return make_cohort("some", [person(k, slides=(slide,)) for k, slide in enumerate(slides)])


def test_slides_are_found_by_name_however_deep(tmp_path: Path):
    barcode = slide_name_of("A1-000A")
    places = {
        barcode: f"0001/{barcode}.{UUID}.svs",
        "s1": "deep/er/s1.NDPI",
        "s2.tif": "s2.tif",
        "v1.2": "v1.2.svs",
        "mirax": "mirax.mrxs",
        "dicom": "dicom",
    }
    for slide, place in places.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).mkdir() if slide == "dicom" else (tmp_path / place).touch()
    (tmp_path / "mirax").mkdir()
    (tmp_path / "v1.3.svs").touch()
    (tmp_path / "0001" / f"{barcode}.{UUID}.svs.partial").touch()
    matched = match_slides(cohort_of(*places, "v1", "S1"), tmp_path)
    assert matched.found == {slide: tmp_path / place for slide, place in places.items()}
    assert matched.missing == ("S1", "v1")


def test_slides_behind_links_are_found_and_links_in_circles_end(tmp_path: Path):
    disk, folder = tmp_path / "disk", tmp_path / "folder"
    (disk / "deep").mkdir(parents=True)
    (disk / "deep" / "s1.svs").touch()
    (disk / "s2.svs").touch()
    folder.mkdir()
    (folder / "again").symlink_to(disk)
    (folder / "slides").symlink_to(disk)
    (disk / "deep" / "circle").symlink_to(folder)
    (disk / "deep" / "nowhere").symlink_to(tmp_path / "gone")
    (folder / "s3.svs").symlink_to(disk / "s2.svs")
    matched = match_slides(cohort_of("s1", "s2", "s3"), folder)
    places = {"s1": "again/deep/s1.svs", "s2": "again/s2.svs", "s3": "s3.svs"}
    assert matched.found == {slide: folder / place for slide, place in places.items()}


def test_what_is_not_behind_a_link_goes_first(tmp_path: Path):
    """A folder has one place, and its own name tells more than a link's."""
    (tmp_path / "b" / "dicom").mkdir(parents=True)
    (tmp_path / "b" / "dicom" / "s1.svs").touch()
    (tmp_path / "a").symlink_to(tmp_path / "b" / "dicom")
    matched = match_slides(cohort_of("s1", "dicom"), tmp_path)
    assert matched.found["s1"] == tmp_path / "b" / "dicom" / "s1.svs"
    assert matched.found["dicom"] == tmp_path / "b" / "dicom"


def test_a_slide_with_two_files_is_refused(tmp_path: Path):
    (tmp_path / "s1.svs").touch()
    (tmp_path / "s1.tif").touch()
    with pytest.raises(CohortInvalid, match="slide s1 is there 2 times"):
        match_slides(cohort_of("s1", "s2"), tmp_path)


def test_a_folder_without_any_of_them_is_an_error_that_names_some(tmp_path: Path):
    slides = [f"s{k}" for k in range(7)]
    with pytest.raises(CohortInvalid, match=r"none of the 7 slides of some: s0, s1.* and 2 more"):
        match_slides(cohort_of(*slides), tmp_path)


def test_a_manifest_has_the_lines_of_the_cohort_s_slides(tmp_path: Path):
    names = [slide_name_of(f"A1-000{letter}") for letter in "DCBA"]
    path = write_gdc(tmp_path / "all.txt", *names)
    chosen, missing = choose_files(cohort_of(names[3], names[1], "other"), read_manifest(path))
    write_manifest(chosen, tmp_path / "some.txt")
    lines = path.read_text().splitlines()
    assert (tmp_path / "some.txt").read_text().splitlines() == [lines[0], lines[4], lines[2]]
    assert missing == ("other",)
    assert chosen[0].size == 1003


def test_a_manifest_that_would_download_wrongly_is_refused(tmp_path: Path):
    name = slide_name_of("A1-000A")
    path = write_gdc(tmp_path / "all.txt", name, name)
    with pytest.raises(CohortInvalid, match="has two files"):
        choose_files(cohort_of(name), read_manifest(path))
    path.write_text(path.read_text().replace("\t1001\t", "\tbig\t"))
    with pytest.raises(CohortInvalid, match="has the size 'big'"):
        read_manifest(path)
    path.write_text(path.read_text().replace("\tbig\t", "\t\t"))
    with pytest.raises(CohortInvalid, match="line 3 is incomplete"):
        read_manifest(path)


@pytest.mark.parametrize(("listed", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_umlaut_is_one_letter_however_it_is_coded(tmp_path: Path, listed: str, on_disk: str):
    """Macs write names decomposed, tables have them composed."""
    slide, file = normalize(listed, "Jürgen-1"), normalize(on_disk, "Jürgen-1.svs")
    (tmp_path / file).touch()
    assert match_slides(cohort_of(slide), tmp_path).found == {slide: tmp_path / file}
    assert match_names(cohort_of(slide), [Path(file).stem]) == {slide: [Path(file).stem]}


def test_the_case_of_a_suffix_tells_no_slide_from_another(tmp_path: Path):
    """Unless both are listed; the case of the rest does."""
    for file in ("s1.TIF", "s2.svs", "s3.tif", "s3.TIF", "s4.SVS"):
        (tmp_path / file).touch()
    matched = match_slides(cohort_of("s1.tif", "s2.SVS", "s3.tif", "s3.TIF", "S4.svs"), tmp_path)
    files = {"s1.tif": "s1.TIF", "s2.SVS": "s2.svs", "s3.tif": "s3.tif", "s3.TIF": "s3.TIF"}
    assert matched.found == {slide: tmp_path / file for slide, file in files.items()}
    assert matched.missing == ("S4.svs",)


@pytest.mark.parametrize("cell", ["s1.svs", "a/b/s1.svs", r"D:\scans\s1.svs", "/s1.svs", "s1.svs/"])
def test_a_path_in_a_table_names_the_slide_at_its_end(cell: str):
    assert slide_name(cell) == "s1.svs"


def test_a_tile_store_s_names_are_the_cohort_s_slides_by_every_spelling():
    """Never another suffix's, nor another UUID's."""
    barcode, other = slide_name_of("A1-000A"), UUID.replace("04B", "05C")
    cohort = cohort_of(barcode, "a.svs", "b.svs", "b.tif", "c", f"d.{UUID}.svs", "v1.2")
    stored = [f"{barcode}.{UUID}", f"{barcode}.{other}", "a", "b", "c.svs", f"d.{other}", "v1"]
    assert match_names(cohort, stored) == {
        barcode: [f"{barcode}.{UUID}", f"{barcode}.{other}"],
        "a.svs": ["a"],
        "c": ["c.svs"],
    }


def test_a_slide_that_repeats_another_of_its_patient_is_told():
    people = [person(0, slides=("a", "b", "c")), person(1, slides=("d",))]
    cohort = make_cohort("some", people)
    assert twins(cohort, {"c": "1", "b": "2", "a": "1", "d": "3"}) == {"c": "a"}
    shared = "slide b of patient P000 and slide d of patient P001 have the same bytes"
    with pytest.raises(CohortInvalid, match=shared):
        twins(cohort, {"d": "2", "a": "1", "b": "2"})
