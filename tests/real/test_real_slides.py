"""Every real slide under ../shared/data/wsi: what becomes of it, said in advance."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.digest import digest_of_file
from deepsmile.errors import DeepSmileError, SlideUnsupported
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import OverviewImage, Reader
from deepsmile.report import Scored, differences
from deepsmile.tissue import Overview, find_tissue
from tests.making import feature_contract

ROOT = Path(__file__).parents[2] / ".." / "shared" / "data" / "wsi"
DICOM = "formats/cmu-1-small-region_dicom"
INSTANCE = f"{DICOM}/1.2.826.0.1.3680043.8.498."
VOLUME = f"{INSTANCE}45638886972347372940441520654196907510.dcm"
HIGHDICOM = "small/highdicom_sm"
NODE = "pathologyatlas/insidious-lymph-node-metastasis_HE_aperio-style.svs"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROOT.is_dir(), reason="../shared/data is not in a clone of the project"),
]

# file -> (outcome, reader): tissue tiles used when it is scored, else the code that says why not.
OUTCOMES: dict[str, tuple[int | str, str]] = {
    NODE: (689, "cucim"),
    "small/cmu-1-small-region.svs": (6, "cucim"),
    "small/tcga-cr-7395-01a-01-ts1.svs": ("mpp_missing", "cucim"),
    "small/test3-TRITC_2__560_.ndpi": ("not_he", "openslide"),
    "small/broken.svs": ("slide_unsupported", ""),
    "small/kidney-48-5.tif": ("slide_unsupported", ""),
    "formats/cmu-1-small-region.ome.tif": (6, "cucim"),
    "formats/cmu-1-small-region_bigtiff-lzw.tif": (6, "cucim"),
    "formats/cmu-1-small-region_generic-pyramid.tif": (6, "cucim"),
    "formats/cmu-1-small-region_flat-striped.tif": ("slide_unsupported", ""),
    DICOM: (6, "openslide"),
    f"{INSTANCE}25388362129867662858889569851773251266.dcm": ("slide_unsupported", ""),
    f"{INSTANCE}33017508751998340428819157194234892693.dcm": ("slide_unsupported", ""),
    VOLUME: (6, "openslide"),
    f"{INSTANCE}80806525506851619146965457708141295313.dcm": ("slide_unsupported", ""),
    HIGHDICOM: ("slide_unsupported", ""),
    f"{HIGHDICOM}/seg_image_sm_dots.dcm": ("slide_unsupported", ""),
    f"{HIGHDICOM}/sm_annotations.dcm": ("slide_unsupported", ""),
    f"{HIGHDICOM}/sm_image_grayscale.dcm": ("slide_unsupported", ""),
    f"{HIGHDICOM}/sm_image_jpegls.dcm": ("slide_unsupported", ""),
    f"{HIGHDICOM}/sm_image.dcm": ("too_little_tissue", "openslide"),
    f"{HIGHDICOM}/sm_image_control.dcm": ("too_little_tissue", "openslide"),
    f"{HIGHDICOM}/sm_image_dots.dcm": ("too_little_tissue", "openslide"),
    f"{HIGHDICOM}/sm_image_numbers.dcm": ("too_little_tissue", "openslide"),
}
SAME_PIXELS = [
    "formats/cmu-1-small-region_bigtiff-lzw.tif",
    "formats/cmu-1-small-region_generic-pyramid.tif",
    "formats/cmu-1-small-region.ome.tif",
    DICOM,
]


def outcome_of(
    source: SlideSource, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> tuple[int | str, str]:
    try:
        report = score_slide(source, bundle, backend, reader)
    except DeepSmileError as error:
        return error.code, ""
    what = report.abstention.code if report.abstention else report.tiles.used
    return what, report.slide.reader.split()[0]


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_real_slide_has_the_outcome_that_was_said_in_advance(
    name: str, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    found = outcome_of(SlideSource(ROOT / name), bundle, backend, reader)
    assert found == OUTCOMES[name]


def test_no_slide_of_the_folder_is_left_out() -> None:
    """A file that is added must be given its outcome above."""
    slides = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*")
        if path.suffix in {".svs", ".tif", ".ndpi", ".dcm"}
    }
    assert slides == set(OUTCOMES) - {DICOM, HIGHDICOM}


def test_a_lone_file_of_a_series_is_that_file_whatever_lies_beside_it(
    tmp_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    """Its digest is the file's, so its pixels are, too; label, macro and thumbnail have none."""
    copy = Path(shutil.copy(ROOT / VOLUME, tmp_path / "volume"))
    among, alone = (
        score_slide(SlideSource(path), bundle, backend, reader) for path in (ROOT / VOLUME, copy)
    )
    assert differences(among, alone) == []
    assert among.slide.sha256 == digest_of_file(copy)


def test_a_slide_without_scale_is_scored_when_it_is_given(
    bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    """TCGA-CR-7395: JPEG 2000, level 1 at a downsample of 2.0005, no MPP; a sixth is filler.

    Five tiles more pass for tissue when that hides its glass, which is grey 238.
    """
    source = SlideSource(ROOT / "small/tcga-cr-7395-01a-01-ts1.svs", mpp=0.5)
    report = score_slide(source, bundle, backend, reader)
    assert (report.tiles.seen, report.tiles.used) == (48, 35)
    assert (report.slide.level_used, report.slide.mpp_source) == (1, "request")


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("beside", [0, 255])
def test_filler_beside_a_slide_is_no_tissue_and_hides_no_glass(
    reader: Reader, beside: int, share: float
) -> None:
    contract = feature_contract()
    events = list(reader.read(ROOT / NODE, contract, overview=True, tiles=False))
    (image,) = (event.image for event in events if isinstance(event, OverviewImage))
    width = round(image.shape[1] * share / 32) * 32
    filled = np.pad(image, ((0, 0), (0, width), (0, 0)), constant_values=beside)
    plain, found = (find_tissue(Overview(each, 32), contract) for each in (image, filled))
    assert found.glass_grey == plain.glass_grey == 239
    assert not found.candidates[:, plain.candidates.shape[1] :].any()
    moved = found.candidates[:, : plain.candidates.shape[1]] != plain.candidates
    assert not moved[:, :-1].any()  # the last column has another edge


def test_two_real_slides_in_one_folder_are_refused(
    tmp_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    shutil.copytree(ROOT / DICOM, tmp_path / "slide")
    assert outcome_of(SlideSource(tmp_path / "slide"), bundle, backend, reader)[0] == 6
    shutil.copy(ROOT / HIGHDICOM / "sm_image.dcm", tmp_path / "slide")
    with pytest.raises(SlideUnsupported, match="holds 2 slides"):
        score_slide(SlideSource(tmp_path / "slide"), bundle, backend, reader)


@pytest.mark.parametrize("name", SAME_PIXELS)
def test_one_slide_in_many_formats_is_one_score(
    name: str, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    """CMU-1 as SVS, BigTIFF, pyramid, OME-TIFF (JPEG again) and DICOM; levels differ, too."""
    plain = SlideSource(ROOT / "small/cmu-1-small-region.svs")
    found = [
        score_slide(source, bundle, backend, reader).heads[0]
        for source in (plain, SlideSource(ROOT / name))
    ]
    assert isinstance(found[0], Scored)
    assert isinstance(found[1], Scored)
    if name == DICOM:
        assert found[1] == found[0]
    assert found[1].probability == pytest.approx(found[0].probability, abs=3e-4)
