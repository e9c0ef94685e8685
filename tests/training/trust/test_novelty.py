"""Novelty: slides like the training slides are spared at the promised rate, others are found."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile_training.trust.novelty import (
    FittedNovelty,
    fit_novelty,
    mean_features,
    patients_needed,
)

FEATURES, VARIED = 40, 6


def draw(rng: np.random.Generator, slides: int) -> np.ndarray:
    """(slides, D) means: `VARIED` strong directions, skewed, and a little of everything."""
    strong = (rng.gamma(2.0, 1.0, (slides, VARIED)) - 2) * np.arange(VARIED, 0, -1)  # (n, VARIED)
    means = rng.normal(1.0, 0.1, (slides, FEATURES))  # (n, D)
    means[:, :VARIED] += strong
    return means


def folds_of(slides: int, folds: int = 5) -> list[np.ndarray]:
    return [np.arange(k, slides, folds) for k in range(folds)]


def declined(fitted: FittedNovelty, means: np.ndarray) -> float:
    """Share of slides above the threshold."""
    return float(np.mean([fitted.space.score_of_mean(m) > fitted.threshold for m in means]))


@pytest.fixture(scope="module")
def fitted() -> FittedNovelty:
    return fit_novelty(draw(np.random.default_rng(0), 150), folds_of(150), directions=8)


def test_slides_like_the_training_slides_are_declined_at_the_promised_rate_at_most() -> None:
    """Over draws of cohort and slides; and near it, so that the threshold is no idle one."""
    rng, rate, slides = np.random.default_rng(1), 0.1, 79
    shares = [
        declined(
            fit_novelty(draw(rng, slides), folds_of(slides), rate=rate, directions=8),
            draw(rng, 100),
        )
        for _ in range(80)
    ]
    error = np.std(shares) / np.sqrt(len(shares))
    assert rate / 2 < np.mean(shares) < rate + 4 * error


def draw_even(rng: np.random.Generator, slides: int) -> np.ndarray:
    """(slides, D) means: 20 directions equally strong, more than few slides can tell."""
    means = rng.normal(0, 0.1, (slides, 128))  # (n, D)
    means[:, :20] += rng.normal(0, 3, (slides, 20))
    return means


@pytest.mark.parametrize(("patients", "rate"), [(9, 0.1), (19, 0.1), (19, 0.05), (24, 0.05)])
@pytest.mark.parametrize("drawn", [draw, draw_even])
def test_few_patients_keep_the_promised_rate(
    drawn: Callable[[np.random.Generator, int], np.ndarray], patients: int, rate: float
) -> None:
    """So few that half of them, not `DIRECTIONS`, is the number of directions."""
    rng = np.random.default_rng(2)
    shares = [
        declined(fit_novelty(drawn(rng, patients), folds_of(patients), rate=rate), drawn(rng, 25))
        for _ in range(200)
    ]
    error = np.std(shares) / np.sqrt(len(shares))
    assert rate / 8 < np.mean(shares) < rate + error


def test_what_is_served_has_the_directions_that_the_threshold_saw() -> None:
    """19 patients in folds of 4, 4, 4, 4, 3: from the 15 outside a fold come 7, not 9."""
    means, folds = draw_even(np.random.default_rng(3), 19), folds_of(19)
    fitted = fit_novelty(means, folds, rate=0.05)
    assert len(fitted.space.scale) == len(fitted.space.directions) == 7
    assert fitted.threshold == pytest.approx(max(slow_scores(means, folds, 7)), rel=1e-5)


def slow_scores(means: np.ndarray, folds: list[np.ndarray], k: int) -> list[float]:
    """Of each slide, by the covariance and the distances of the slides outside its fold."""
    along, beyond = {}, {}
    for fold in folds:
        others = np.array([m for i, m in enumerate(means) if i not in fold])  # (n, D)
        variances, columns = np.linalg.eigh(np.cov(others.T))  # (D,), (D, D), the largest last
        for i in fold:
            parts = columns.T @ (means[i] - others.mean(axis=0))  # (D,)
            along[i] = (parts[-k:] ** 2 / variances[-k:]).sum()
            beyond[i] = np.sqrt((parts[:-k] ** 2).sum())
    scores = []
    for fold in folds:
        rest = np.array([r for i, r in beyond.items() if i not in fold])  # (n,)
        for i in fold:
            e = max(0.0, (beyond[i] - rest.mean()) / rest.std())
            scores.append(float(np.sqrt(along[i] + e * e)))
    return scores


def draw_several(rng: np.random.Generator, patients: int, each: int) -> np.ndarray:
    """(patients * each, D): half of what varies is the patient's, half the slide's."""
    return (np.repeat(draw(rng, patients), each, axis=0) + draw(rng, patients * each)) / 2


def test_patients_of_several_slides_have_one_declined_at_the_promised_rate_at_most() -> None:
    """Whichever of three slides is sent; with slides counted as patients it were twice the rate."""
    rng, rate, patients, each = np.random.default_rng(1), 0.1, 79, 3
    owners = np.repeat(np.arange(patients), each)
    folds = [np.flatnonzero(owners % 5 == k) for k in range(5)]
    names, shares = [f"p{owner}" for owner in owners], []
    for _ in range(40):
        means = draw_several(rng, patients, each)
        fitted = fit_novelty(means, folds, patients=names, rate=rate, directions=8)
        assert (fitted.slides, fitted.patients) == (patients * each, patients)
        further = draw_several(rng, 60, each)
        scores = np.array([fitted.space.score_of_mean(m) for m in further]).reshape(60, each)
        shares.append(np.mean(scores.max(axis=1) > fitted.threshold))
    error = np.std(shares) / np.sqrt(len(shares))
    assert rate / 2 < np.mean(shares) < rate + 4 * error


def test_slides_of_few_patients_keep_no_rate() -> None:
    """A hundred slides, but of 25 patients: the largest of them is passed by 1 in 26."""
    names = [f"p{i // 4}" for i in range(100)]
    folds = [np.arange(20 * k, 20 * k + 20) for k in range(5)]
    with pytest.raises(RequestInvalid, match="needs 99 patients in folds, not 25 in 5"):
        fit_novelty(draw(np.random.default_rng(0), 100), folds, patients=names)


def test_a_slide_far_along_a_direction_that_varied_is_found(fitted: FittedNovelty) -> None:
    far = np.ones(FEATURES)
    far[0] += 100.0
    assert fitted.space.score_of_mean(far) > fitted.threshold


def test_a_slide_off_all_directions_is_found_though_it_is_near(fitted: FittedNovelty) -> None:
    """A step of 2, where the first direction alone varies by 8, but nothing ever varied so."""
    odd = np.ones(FEATURES)
    assert fitted.space.score_of_mean(odd) <= fitted.threshold
    odd[-1] += 2.0
    assert fitted.space.score_of_mean(odd) > fitted.threshold


def test_the_score_is_its_formula_step_by_step(fitted: FittedNovelty) -> None:
    space, rng = fitted.space, np.random.default_rng(2)
    bag = (draw(rng, 1) * 2 + rng.normal(0, 1, (9, FEATURES))).astype(np.float32)  # (N, D)
    d = [sum(float(row[i]) for row in bag) / 9 - space.centre[i] for i in range(FEATURES)]
    total, rest = 0.0, list(d)
    for direction, scale in zip(space.directions.tolist(), space.scale.tolist(), strict=True):
        along = sum(x * u for x, u in zip(d, direction, strict=True))
        total += (along / scale) ** 2
        rest = [x - along * u for x, u in zip(rest, direction, strict=True)]
    r = sum(x * x for x in rest) ** 0.5
    e = max(0.0, (r - space.rest[0]) / space.rest[1])
    assert e > 0
    assert space.score(bag) == pytest.approx((total + e * e) ** 0.5, rel=1e-6)


def test_the_scale_is_the_spread_along_each_direction(fitted: FittedNovelty) -> None:
    """The eigenvalues of the covariance, largest first."""
    means = draw(np.random.default_rng(0), 150)
    exact = np.sort(np.linalg.eigvalsh(np.cov(means.T)))[::-1][:8]  # (8,)
    np.testing.assert_allclose(fitted.space.scale**2, exact, rtol=1e-9)


def test_the_threshold_is_the_rank_of_the_held_out_scores(fitted: FittedNovelty) -> None:
    """150 slides, 1 %: the ceil(151 * 0.99) = 150th, so the largest."""
    assert fitted.threshold > max(
        fitted.space.score_of_mean(m) for m in draw(np.random.default_rng(0), 150)
    )
    assert (fitted.rate, fitted.slides) == (0.01, 150)


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.1, 9)])
def test_a_rate_needs_so_many_patients(rate: float, needed: int) -> None:
    assert patients_needed(rate) == needed
    rng = np.random.default_rng(4)
    assert fit_novelty(draw(rng, needed), folds_of(needed, 3), rate=rate).slides == needed
    with pytest.raises(RequestInvalid, match=f"needs {needed} patients"):
        fit_novelty(draw(rng, needed - 1), folds_of(needed - 1, 3), rate=rate)


def test_features_that_never_vary_are_no_direction() -> None:
    """Dead channels are common; a constant one must not divide by nothing."""
    means = draw(np.random.default_rng(5), 30)
    means[:, 3:] = 0.5
    fitted = fit_novelty(means, folds_of(30, 3), rate=0.1)
    assert len(fitted.space.scale) == 3
    assert declined(fitted, means) < 0.2
    awake = means[0].copy()
    awake[20] = 0.6
    assert fitted.space.score_of_mean(awake) > fitted.threshold


def test_what_is_written_is_what_the_contract_says(fitted: FittedNovelty, tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "novelty.npz", tmp_path / "b" / "novelty.npz"
    rule = fitted.write(one)
    assert rule == fitted.write(other)
    assert one.read_bytes() == other.read_bytes()
    assert (rule.sha256, rule.threshold) == (digest_of_file(one), fitted.threshold)
    again = type(fitted.space).load(one.read_bytes())
    mean = draw(np.random.default_rng(6), 1)[0]
    assert again.score_of_mean(mean) == fitted.space.score_of_mean(mean)


def test_means_are_of_all_tiles() -> None:
    bags = [np.array([[0, 2], [4, 4]], np.float32), np.array([[1, 1]], np.float32)]
    assert mean_features(bags).tolist() == [[2.0, 3.0], [1.0, 1.0]]
