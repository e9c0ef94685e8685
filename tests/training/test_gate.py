"""The gate: every slide scored with both bundles, and the largest move on record."""

import math

import numpy as np
import pytest

from deepsmile.bundle import Bundle
from deepsmile.errors import TooLittleTissue
from deepsmile.pipeline import SlideSource
from deepsmile.precision import HeadShift, Shift
from deepsmile.reading import Reader
from deepsmile.slides.slide import RGB
from deepsmile_training.variants.gate import BOUNDS, Served, measure
from tests.fake_backend import FakeBackend, mean_and_square
from tests.reports import changed, space_of, with_novelty

pytestmark = pytest.mark.slow

YES, NO = (np.array([[0.0, margin]], np.float32) for margin in (1.0, -1.0))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def turned(tiles: RGB) -> np.ndarray:
    """Features at 60 degrees to the honest ones."""
    features = mean_and_square(tiles).astype(np.float64)  # (B, 6)
    aside = np.roll(features, 1, axis=1) - features  # (B, 6)
    along = (aside * features).sum(1, keepdims=True) / (features**2).sum(1, keepdims=True)  # (B, 1)
    aside -= along * features
    aside *= np.linalg.norm(features, axis=1, keepdims=True) / np.linalg.norm(
        aside, axis=1, keepdims=True
    )
    return (0.5 * features + 0.75**0.5 * aside).astype(np.float32)


def nowhere(tiles: RGB) -> np.ndarray:
    """What is left after an overflow."""
    return np.full((len(tiles), 6), np.nan, np.float32)


def shift(bundle: Bundle, variant: FakeBackend, slide: SlideSource, reader: Reader) -> Shift:
    """Of a slide taken twice."""
    told: list[int] = []
    found = measure(
        [slide, slide],
        Served(bundle, FakeBackend(logits=YES)),
        Served(bundle, variant),
        reader,
        lambda: told.append(1),
    )
    assert told == [1, 1]
    return found


@pytest.fixture
def slide(slide_path) -> SlideSource:
    return SlideSource(slide_path)


def test_nothing_moves_where_nothing_changed(bundle, slide, reader: Reader) -> None:
    found = shift(bundle, FakeBackend(logits=YES), slide, reader)
    assert (found.slides, found.tiles) == (2, 16)
    assert found.cosine_min == pytest.approx(1, abs=1e-12)
    assert found.heads == {"redness": HeadShift(raw=0, calibrated=0, labels_changed=0)}
    assert not list(found.excesses(BOUNDS))


def test_features_are_compared_tile_by_tile(bundle, slide, reader: Reader) -> None:
    found = shift(bundle, FakeBackend(encoder=turned, logits=YES), slide, reader)
    assert found.cosine_mean == pytest.approx(0.5, abs=1e-6)
    assert found.cosine_min == pytest.approx(0.5, abs=1e-6)
    assert found.score == 0


def test_raw_and_calibrated_moves_and_labels_are_on_record(bundle, slide, reader: Reader) -> None:
    """The tiny bundle calibrates with sigmoid(0.5 logit + 0.1); its threshold is 0.5."""
    found = shift(bundle, FakeBackend(logits=NO), slide, reader)
    assert found.heads["redness"].raw == pytest.approx(sigmoid(1) - sigmoid(-1), abs=2e-6)
    calibrated = sigmoid(0.6) - sigmoid(-0.4)
    assert found.heads["redness"].calibrated == pytest.approx(calibrated, abs=2e-6)
    assert found.heads["redness"].labels_changed == 2
    assert found.score == found.heads["redness"].raw


def test_features_that_are_no_numbers_are_as_far_off_as_can_be(
    bundle, slide, reader: Reader
) -> None:
    found = shift(bundle, FakeBackend(encoder=nowhere, logits=YES), slide, reader)
    assert (found.cosine_mean, found.cosine_min, found.score) == (0, 0, 1)
    assert len(list(found.excesses(BOUNDS))) == 3


def test_a_slide_without_a_score_is_named(bundle, slide, reader: Reader, tmp_path) -> None:
    """It would measure nothing, so it stops the measurement."""
    strict = changed(bundle, tmp_path, heads=[{"min_tiles": 100}])
    with pytest.raises(TooLittleTissue, match=r"^slide\.svs: 8 tissue tiles"):
        shift(strict, FakeBackend(logits=YES), slide, reader)


def test_a_slide_that_the_head_declines_as_novel_is_measured(
    bundle, slide, reader: Reader, tmp_path
) -> None:
    novel = with_novelty(bundle, tmp_path, space_of(), 1e-6)
    assert shift(novel, FakeBackend(logits=NO), slide, reader).score > 0.4
