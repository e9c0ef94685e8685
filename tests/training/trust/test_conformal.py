"""Prediction sets: the promised share of either class is covered, whatever the calibration."""

import numpy as np
import pytest

from deepsmile.calibration import Isotonic, Platt
from deepsmile.contract import Conformal
from deepsmile_training.evidence.calibrate import apply
from deepsmile_training.evidence.predictions import TestPredictions, ValidationPredictions
from deepsmile_training.metrics import Probabilities
from deepsmile_training.trust.conformal import fit_conformal

DRAWS, FRESH = 400, 100
NEGATIVES, POSITIVES = 35, 18


def draw(rng: np.random.Generator, negatives: int, positives: int) -> ValidationPredictions:
    """Overlapping classes of unequal size and shape."""
    p = np.concatenate([rng.beta(2, 4, negatives), rng.beta(5, 3, positives)])  # (n,)
    return ValidationPredictions.numbered(p, np.repeat([0, 1], [negatives, positives]))


def covered(rule: Conformal, fresh: ValidationPredictions) -> tuple[float, float]:
    """Share of the negative and of the positive slides whose class is in their set."""
    negative, positive = fresh.p[fresh.y == 0], fresh.p[fresh.y == 1]
    return (
        float((negative <= rule.negative_up_to).mean()),
        float((positive >= rule.positive_from).mean()),
    )


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_either_class_is_covered_as_promised_over_many_draws(coverage: float) -> None:
    """On average ceil((n + 1) c) / (n + 1), Vovk et al. 2005: at least c, and not far above it.

    The coverage of one draw is a Beta(k, n + 1 - k) variable: that gives the standard error.
    """
    rng = np.random.default_rng(0)
    shares = np.array(
        [
            covered(
                fit_conformal(draw(rng, NEGATIVES, POSITIVES), coverage), draw(rng, FRESH, FRESH)
            )
            for _ in range(DRAWS)
        ]
    )  # (DRAWS, 2)
    for n, found in zip((NEGATIVES, POSITIVES), shares.mean(axis=0).tolist(), strict=True):
        k = int(np.ceil((n + 1) * coverage - 1e-9))
        promised = k / (n + 1)
        variance = promised * (1 - promised) * (1 / (n + 2) + 1 / FRESH)
        assert promised >= coverage
        assert abs(found - promised) < 4 * np.sqrt(variance / DRAWS)


def test_the_bounds_are_the_ranks_that_a_slow_count_finds() -> None:
    """The smallest bound within which ceil((n + 1) c) calibration slides lie, counted singly."""
    validation = draw(np.random.default_rng(1), NEGATIVES, POSITIVES)
    rule = fit_conformal(validation, 0.9)
    p, y = validation.p.round(6), validation.y
    negatives, positives = sorted(p[y == 0].tolist()), sorted(p[y == 1].tolist())
    kept = [bound for bound in negatives if sum(x <= bound for x in negatives) >= 33]  # 36 * .9
    assert rule.negative_up_to == kept[0]
    kept = [bound for bound in positives if sum(x >= bound for x in positives) >= 18]  # 19 * .9
    assert rule.positive_from == kept[-1]
    assert rule.basis == "35 negative and 18 positive validation predictions"


@pytest.mark.parametrize(
    "calibration",
    [
        Platt(method="platt", slope=0.4, intercept=-1.0),
        Isotonic(method="isotonic", x=(0.1, 0.4, 0.5, 0.9), y=(0.05, 0.2, 0.2, 0.95)),
    ],
    ids=lambda one: one.method,
)
def test_a_calibration_only_ever_adds_to_a_set(calibration: Platt | Isotonic) -> None:
    """Order is all that counts, so slides that fitted the calibration may serve here as well."""
    rng = np.random.default_rng(2)
    validation, fresh = draw(rng, NEGATIVES, POSITIVES), draw(rng, FRESH, FRESH)

    def calibrated(p: Probabilities) -> Probabilities:
        return np.asarray(apply(calibration, p)).round(6)

    raw = fit_conformal(validation)
    rule = fit_conformal(validation.with_probabilities(calibrated(validation.p)))
    p = calibrated(fresh.p)
    added = (p <= rule.negative_up_to) >= (fresh.p <= raw.negative_up_to)
    assert added.all()
    assert ((p >= rule.positive_from) >= (fresh.p >= raw.positive_from)).all()
    if calibration.method == "platt":
        assert ((p >= rule.positive_from) == (fresh.p >= raw.positive_from)).all()


def test_a_class_of_too_few_slides_is_in_every_set() -> None:
    """8 slides cannot bound 90 % of further ones: ceil(9 * 0.9) = 9 of 8."""
    rule = fit_conformal(draw(np.random.default_rng(3), 8, 8), 0.9)
    assert (rule.negative_up_to, rule.positive_from) == (1.0, 0.0)
    rule = fit_conformal(draw(np.random.default_rng(3), 9, 9), 0.9)
    assert rule.negative_up_to < 1
    assert rule.positive_from > 0


def test_nothing_is_fitted_on_test_patients() -> None:
    test = TestPredictions.numbered(np.array([0.2, 0.8]), np.array([0, 1]))
    with pytest.raises(TypeError, match="ValidationPredictions only"):
        fit_conformal(test)  # type: ignore[arg-type]
