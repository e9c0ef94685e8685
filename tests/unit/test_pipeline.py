"""The road from a slide file to a report."""

from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.contract import Contract, Head
from deepsmile.digest import digest_of_file
from deepsmile.errors import BundleMismatch, SlideNotFound, SlideUnsupported
from deepsmile.pipeline import (
    Reader,
    SlideSource,
    extract,
    positive_probabilities,
    score_bag,
    score_slide,
)
from deepsmile.reading import ReaderLimits
from deepsmile.report import Scored, differences
from deepsmile.slides.open import open_slide
from deepsmile.tiles import TileCount, plan_tiles, read_tiles
from tests.fake_backend import FakeBackend, mean_and_square
from tests.making import write_tiff
from tests.memory_slide import MemorySlide
from tests.reports import changed, scored

PLATT_SLOPE, PLATT_INTERCEPT = 0.5, 0.1


def test_a_slide_scores_the_same_twice_but_for_run(
    slide_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    source = SlideSource(slide_path)
    first = score_slide(source, bundle, backend, reader, job_id="a")
    second = score_slide(source, bundle, backend, reader, job_id="b")
    assert differences(first, second) == []
    assert first.run != second.run
    assert isinstance(first.heads[0], Scored)


def test_the_report_says_which_bytes_were_read_and_how(
    slide_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    report = score_slide(SlideSource(slide_path), bundle, backend, reader, job_id="a")
    assert report.slide.sha256 == digest_of_file(slide_path)
    assert (report.slide.mpp, report.slide.mpp_source) == ((0.5, 0.5), "aperio")
    assert (report.slide.format, report.slide.levels[0]) == ("aperio", (2100, 1600))
    assert report.bundle.digest == bundle.digest
    assert report.bundle.contract_digest == bundle.contract.digest
    assert report.bundle.features_digest == bundle.contract.features.digest
    assert report.bundle.encoder_sha256 == digest_of_file(bundle.encoder_path)
    assert (report.notice, report.requested_mpp) == ("Test bundle, no meaning.", None)
    assert (report.tiles.seen, report.tiles.decoded, report.tiles.used) == (12, 8, 8)
    assert report.run.job_id == "a"
    assert report.run.backend == backend.name
    stages = {"qc", "tiling", "encoding", "aggregating"}
    assert set(report.run.timings_s) == stages | {"reader_cpu", "total"}


def test_a_known_digest_is_not_computed_again(
    slide_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    report = score_slide(SlideSource(slide_path, sha256="5" * 64), bundle, backend, reader)
    assert report.slide.sha256 == "5" * 64


def test_the_score_is_that_of_a_slow_walk_along_the_road(
    tmp_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    """Every number of the answer from the image, by hand: all tiles pink, one level, no loss."""
    image = np.full((1024, 1536, 3), (214, 150, 196), np.uint8)
    path = write_tiff(tmp_path / "slide.tif", image, levels=1, compression="lzw")
    head = scored(score_slide(SlideSource(path), bundle, backend, reader))
    redness = (214 - 150) / 255
    members = [1 / (1 + np.exp(-redness)), 1 / (1 + np.exp(-2 * redness))]
    raw = sum(members) / 2
    logit = np.log(raw / (1 - raw))
    assert head.probability_raw == pytest.approx(raw, abs=5e-6)
    assert head.spread == pytest.approx((members[1] - members[0]) / 2, abs=5e-6)
    assert head.probability == pytest.approx(
        1 / (1 + np.exp(-(PLATT_SLOPE * logit + PLATT_INTERCEPT))), abs=5e-6
    )
    assert (head.label, head.members, head.calibration) == ("red", 2, "platt")
    assert head.operating_point.name == "half"


def test_features_lie_row_by_row_and_carry_their_contract(
    slide_path: Path, bundle: Bundle, reader: Reader
) -> None:
    """HOUSE STYLE 10: the digest is stamped on; the order is the grid's, not the reading's."""
    extraction = extract(SlideSource(slide_path), bundle.contract.features, FakeBackend(), reader)
    bag, count = extraction.bag, extraction.count
    assert bag is not None
    assert count is not None
    assert bag.features_digest == bundle.contract.features.digest
    assert bag.slide_sha256 == digest_of_file(slide_path)
    assert len(bag.features) == len(bag.cells) == count.kept > 4
    places = [(row, column) for column, row in bag.cells.tolist()]
    assert places == sorted(set(places))
    assert (bag.step_l0, bag.origin_l0) == ((512.0, 512.0), (0.0, 0.0))


@pytest.mark.parametrize(("batch", "concurrency"), [(1, 5), (3, 2)])
def test_features_do_not_depend_on_batches_or_threads(
    slide_path: Path, bundle: Bundle, tmp_path: Path, reference: Any, batch: int, concurrency: int
) -> None:
    """HOUSE STYLE 7: both are settings. Each tile meets its own features again."""
    own = Reader(ReaderLimits(tmp_path / "scratch", 4 << 30, 60, 30.0), batch)
    fake = FakeBackend(concurrency=concurrency)
    bag = extract(SlideSource(slide_path), bundle.contract.features, fake, own).bag
    own.close()
    assert bag is not None
    assert all(len(tiles) <= batch for tiles in fake.batches)
    assert sum(len(tiles) == batch for tiles in fake.batches) == len(bag.features) // batch
    np.testing.assert_array_equal(bag.features, reference)


@pytest.fixture(scope="module")
def reference(slide_path: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Features of the tiles read in this process, one by one, in the grid's order."""
    contract, scratch = bundle.contract.features, tmp_path_factory.mktemp("scratch")
    slide = open_slide(slide_path, scratch)
    plan = plan_tiles(slide, contract, None)
    tiles = {
        (row, column): pixels
        for batch in read_tiles(slide, plan, contract, 1, TileCount())
        for (column, row), pixels in zip(batch.cells.tolist(), batch.pixels, strict=True)
    }
    return mean_and_square(np.stack([tiles[cell] for cell in sorted(tiles)]))


def test_encoders_really_run_at_once(slide_path: Path, bundle: Bundle, reader: Reader) -> None:
    """Two batches meet at a barrier, which one thread alone would never pass."""
    barrier = Barrier(2, timeout=10)

    def meet(tiles: Any) -> Any:
        barrier.wait()
        return mean_and_square(tiles)

    fake = FakeBackend(encoder=meet, concurrency=2)
    assert extract(SlideSource(slide_path), bundle.contract.features, fake, reader).bag
    assert len(fake.batches) == 2


@pytest.mark.parametrize(
    ("content", "error"), [(None, SlideNotFound), (b"no slide", SlideUnsupported)]
)
def test_a_file_that_is_no_slide_is_an_error_and_not_an_abstention(
    tmp_path: Path, bundle: Bundle, reader: Reader, content: bytes | None, error: type[Exception]
) -> None:
    if content is not None:
        (tmp_path / "slide").write_bytes(content)
    with pytest.raises(error):
        score_slide(SlideSource(tmp_path / "slide"), bundle, FakeBackend(), reader)


def bag_of(slide_path: Path, bundle: Bundle, reader: Reader) -> Any:
    return extract(SlideSource(slide_path), bundle.contract.features, FakeBackend(), reader).bag


@pytest.mark.parametrize(
    ("probability", "threshold", "label"),
    [(0.5, 0.5, "red"), (0.5, 0.500001, "pale"), (0.5, 0.0, "red"), (0.5, 1.0, "pale")],
)
def test_the_label_is_positive_from_the_threshold_on(
    slide_path: Path,
    bundle: Bundle,
    reader: Reader,
    probability: float,
    threshold: float,
    label: str,
) -> None:
    head = Head.model_validate(
        {
            **bundle.contract.heads[0].model_dump(),
            "calibration": {"method": "none"},
            "operating_points": [{"name": "half", "threshold": threshold, "basis": "test"}],
        }
    )
    even = FakeBackend(logits=np.zeros((2, 2), np.float32))
    answer = score_bag(bag_of(slide_path, bundle, reader), head, bundle, even)
    assert (answer.probability, answer.label) == (probability, label)
    assert (answer.calibration, answer.spread) == ("none", 0.0)


def test_a_bag_of_another_contract_is_not_scored(
    slide_path: Path, tmp_path: Path, bundle: Bundle, reader: Reader
) -> None:
    """HOUSE STYLE 10: mismatch raises; it never warns."""
    other = changed(bundle, tmp_path, features={"budget": {"max_tiles": 5, "seed": 0}})
    with pytest.raises(BundleMismatch, match="under contract"):
        score_bag(bag_of(slide_path, bundle, reader), other.contract.heads[0], other, FakeBackend())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_no_score(
    slide_path: Path, bundle: Bundle, reader: Reader, bad: float
) -> None:
    """HOUSE STYLE 28: NaN >= threshold is false, and the slide would be called negative."""
    broken = FakeBackend(logits=np.array([[0.0, 1.0], [0.0, bad]], np.float32))
    with pytest.raises(BundleMismatch, match="not finite"):
        score_slide(SlideSource(slide_path), bundle, broken, reader)


@pytest.mark.parametrize("shift", [0.0, 50.0, -3000.0])
def test_member_probabilities_are_a_softmax_over_two_classes(shift: float) -> None:
    logits = np.array([[0.3, 1.7], [2.0, -1.0], [0.0, 0.0]], np.float32)
    exact = [np.exp(b) / (np.exp(a) + np.exp(b)) for a, b in logits.astype(np.float64).tolist()]
    found = positive_probabilities(logits + np.float32(shift))
    np.testing.assert_allclose(found, exact, atol=1e-3 if shift else 1e-12)


def test_extreme_logits_stay_probabilities() -> None:
    logits = np.array([[0, 3e38], [3e38, 0], [-3e38, 3e38]], np.float32)
    found = positive_probabilities(logits)
    assert found.tolist() == pytest.approx([1.0, 0.0, 1.0])


def test_a_budget_uses_so_many_tiles_whatever_the_batch(
    slide_path: Path, tmp_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    limited = changed(bundle, tmp_path, features={"budget": {"max_tiles": 5, "seed": 1}})
    report = score_slide(SlideSource(slide_path), limited, backend, reader)
    assert report.tiles.used == 5
    assert 5 <= report.tiles.decoded < report.tiles.seen


def test_contracts_are_compared_whole(bundle: Bundle) -> None:
    again = Contract.model_validate_json(bundle.contract.model_dump_json())
    assert again.digest == bundle.contract.digest


def test_the_slide_in_memory_keeps_the_protocol(slide_path: Path, tmp_path: Path) -> None:
    """The fake of these tests fills white and clips as the real readers do."""
    real = open_slide(slide_path, tmp_path)
    fake = MemorySlide([real.read(0, 0, 0, 2100, 1600)])
    for region in ((0, -20, -30, 100, 100), (0, 2050, 1550, 200, 200), (0, 9000, 0, 10, 10)):
        np.testing.assert_array_equal(fake.read(*region), real.read(*region))
