"""Which slides calibrate and which judge; what counts as a slide in a folder."""

from pathlib import Path

import numpy as np
import pytest

from deepsmile.bundle import Bundle
from deepsmile.errors import RequestInvalid, SlideNotFound, TooLittleTissue
from deepsmile.pipeline import SlideSource
from deepsmile.reading import Reader
from deepsmile.tiles import TileBatch
from deepsmile_training.variants.selection import calibration_tiles, slides_in, split_slides
from tests.making import feature_contract, tissue_image, write_svs

SLIDES = 5


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that differ; nobody opens them."""
    folder = tmp_path_factory.mktemp("slides")
    for number in range(SLIDES):
        (folder / f"{number}.svs").write_bytes(b"slide" * (number + 1))
    return folder


def test_a_slide_calibrates_or_judges_and_counts_once(slides: Path) -> None:
    """One in four calibrates; the same slide given twice is one."""
    calibrating, judges = split_slides([slides, slides / "0.svs"], calibrate=True, judges=4)
    assert (len(calibrating), len(judges)) == (1, 4)
    assert {one.sha256 for one in calibrating}.isdisjoint(one.sha256 for one in judges)
    assert [len(part) for part in split_slides([slides], calibrate=False, judges=5)] == [0, 5]


@pytest.mark.parametrize(
    ("calibrate", "judges", "needed"),
    [(False, 6, 6), (True, 1, 2), (True, 5, 6), (True, 6, 7), (True, 12, 15)],
)
def test_it_says_how_many_slides_are_needed(
    tmp_path: Path, calibrate: bool, judges: int, needed: int
) -> None:
    """Exactly so many are enough."""
    for number in range(needed):
        (tmp_path / f"{number}.svs").write_bytes(b"slide" * (number + 1))
    _, found = split_slides([tmp_path], calibrate=calibrate, judges=judges)
    assert len(found) >= judges
    (tmp_path / "0.svs").unlink()
    with pytest.raises(RequestInvalid, match=f"{needed - 1} different ones.*, {needed} are needed"):
        split_slides([tmp_path], calibrate=calibrate, judges=judges)


def test_no_slide_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="slides: 0 different ones found"):
        split_slides([tmp_path], calibrate=False, judges=1)
    with pytest.raises(SlideNotFound, match="nowhere"):
        split_slides([tmp_path / "nowhere"], calibrate=False, judges=1)


def test_a_folder_is_one_dicom_slide_or_holds_slides(tmp_path: Path) -> None:
    """An .mrxs comes with a folder of its name; hidden files are nobody's slide."""
    for name in ("b.svs", "a.mrxs", ".hidden"):
        (tmp_path / name).write_bytes(b"x" * 200)
    (tmp_path / "a").mkdir()
    dicom = tmp_path / "c"
    dicom.mkdir()
    (dicom / "1.dcm").write_bytes(b"\0" * 128 + b"DICM")
    assert slides_in(tmp_path) == [tmp_path / "a.mrxs", tmp_path / "b.svs", dicom]
    assert slides_in(dicom) == [dicom]
    assert slides_in(tmp_path / "b.svs") == [tmp_path / "b.svs"]


@pytest.mark.slow
def test_calibration_tiles_are_those_that_serving_reads(
    bundle: Bundle, slide_path: Path, reader: Reader
) -> None:
    """A slide with fewer than its share gives them all."""
    contract = bundle.contract.features
    told: list[int] = []
    found = calibration_tiles([SlideSource(slide_path)], contract, reader, lambda: told.append(1))
    served = [e.pixels for e in reader.read(slide_path, contract) if isinstance(e, TileBatch)]
    assert np.array_equal(found, np.concatenate(served))
    assert told == [1]


def test_a_slide_without_tissue_is_named(reader: Reader, tmp_path: Path) -> None:
    bare = write_svs(tmp_path / "bare.svs", tissue_image(2100, 1600, tissue=0))
    contract = feature_contract(stain={"rule": "any"})
    with pytest.raises(TooLittleTissue, match=r"^bare\.svs: "):
        calibration_tiles([SlideSource(bare)], contract, reader, lambda: None)
