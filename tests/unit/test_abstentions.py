"""Abstentions: slides that we decline, with a report and a reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.digest import digest_of_file
from deepsmile.pipeline import (
    Reader,
    SlideSource,
    score_slide,
)
from deepsmile.report import Report, Scored
from tests.fake_backend import FakeBackend
from tests.making import tissue_image, write_svs
from tests.reports import abstained, changed, scored


def no_mpp(folder: Path) -> Path:
    return write_svs(folder / "s.svs", tissue_image(1100, 1100, tissue=0.95), mpp="")


def too_coarse(folder: Path) -> Path:
    return write_svs(folder / "s.svs", tissue_image(1100, 1100), mpp="2.0")


def brown(folder: Path) -> Path:
    image = np.full((1100, 1100, 3), (150, 105, 70), np.uint8)
    return write_svs(folder / "s.svs", image)


def dark(folder: Path) -> Path:
    return write_svs(folder / "s.svs", np.full((1100, 1100, 3), (10, 10, 60), np.uint8))


def bare_glass(folder: Path) -> Path:
    return write_svs(folder / "s.svs", tissue_image(1100, 1100, tissue=0))


def one_tile(folder: Path) -> Path:
    return write_svs(folder / "s.svs", np.full((520, 520, 3), (214, 150, 196), np.uint8), levels=1)


def smaller_than_a_tile(folder: Path) -> Path:
    return write_svs(folder / "s.svs", tissue_image(300, 300), levels=1)


@pytest.mark.parametrize(
    ("make", "code", "seen", "used"),
    [
        (no_mpp, "mpp_missing", 0, 0),
        (too_coarse, "mpp_too_coarse", 0, 0),
        (brown, "not_he", 0, 0),
        (dark, "not_he", 0, 0),
        (bare_glass, "too_little_tissue", 4, 0),
        (one_tile, "too_little_tissue", 1, 1),
        (smaller_than_a_tile, "too_little_tissue", 0, 0),
    ],
)
def test_a_slide_that_we_decline_is_a_report_with_a_reason(
    tmp_path: Path,
    bundle: Bundle,
    backend: OnnxBackend,
    reader: Reader,
    make: Any,
    code: str,
    seen: int,
    used: int,
) -> None:
    """HOUSE STYLE 28 and 36: abstain rather than guess; an answer, not an error."""
    report = score_slide(SlideSource(make(tmp_path)), bundle, backend, reader)
    assert report.abstention is not None
    assert report.abstention.code == code
    assert report.abstention.hint
    assert (report.tiles.seen, report.tiles.used) == (seen, used)
    assert report.slide.sha256 == digest_of_file(tmp_path / "s.svs")
    assert abstained(report).head_sha256 == bundle.contract.heads[0].sha256
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_requested_mpp_mends_a_slide_without_one(
    tmp_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    report = score_slide(SlideSource(no_mpp(tmp_path), mpp=0.5), bundle, backend, reader)
    assert scored(report).members == 2
    assert (report.requested_mpp, report.slide.mpp_source) == (0.5, "request")


@pytest.mark.parametrize("min_tiles", [1, 2])
def test_one_tile_is_enough_for_a_head_that_says_so(
    tmp_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader, min_tiles: int
) -> None:
    """HOUSE STYLE 36: 1 tile."""
    lenient = changed(bundle, tmp_path, heads=[{"min_tiles": min_tiles}])
    report = score_slide(SlideSource(one_tile(tmp_path)), lenient, backend, reader)
    assert isinstance(report.heads[0], Scored) == (min_tiles == 1)


def test_each_head_decides_for_itself_whether_the_tiles_suffice(
    slide_path: Path, tmp_path: Path, bundle: Bundle, reader: Reader
) -> None:
    """Two heads, one pass over the tiles; only one asks for more than there are."""
    both = changed(
        bundle, tmp_path, heads=[{"name": "strict", "min_tiles": 1000}, {"name": "lenient"}]
    )
    fake = FakeBackend()
    report = score_slide(SlideSource(slide_path), both, fake, reader)
    assert abstained(report, 0).reason.code == "too_little_tissue"
    assert f"{report.tiles.used} tissue tiles; the head strict needs 1000" in (
        abstained(report, 0).reason.detail
    )
    assert scored(report, 1).head == "lenient"
    assert report.abstention is None
    assert len(fake.scored) == 1
    assert sum(map(len, fake.batches)) == report.tiles.used


@pytest.mark.parametrize("make", [brown, too_coarse])
def test_the_scale_of_a_declined_slide_is_the_one_that_was_gone_by(
    tmp_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader, make: Any
) -> None:
    """The request's before the file's, also where there is no plan."""
    report = score_slide(SlideSource(make(tmp_path), mpp=1.9), bundle, backend, reader)
    assert report.abstention is not None
    assert (report.slide.mpp, report.slide.mpp_source) == ((1.9, 1.9), "request")
