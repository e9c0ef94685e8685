"""Platt scaling: known parameters come back, separated classes stay finite."""

import numpy as np
import pytest

from deepsmile_training.evidence.calibrate import fit_platt
from tests.training.evidence.cases import validation


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, 0.3), (2.0, -1.0), (1.0, 0.0)])
def test_known_parameters_are_recovered(slope: float, intercept: float) -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(0, 2, 40_000)
    y = (rng.random(len(logit)) < sigmoid(slope * logit + intercept)).astype(np.int64)
    found = fit_platt(validation(sigmoid(logit), y))
    assert found.slope == pytest.approx(slope, abs=0.05)
    assert found.intercept == pytest.approx(intercept, abs=0.05)


def test_perfectly_separated_classes_give_a_finite_slope() -> None:
    """Platt 1999: targets (n1 + 1) / (n1 + 2) and 1 / (n0 + 2)."""
    p, y = np.repeat([0.001, 0.999], 50), np.repeat([0, 1], 50)
    found = fit_platt(validation(p, y))
    assert found.apply(0.999) == pytest.approx(51 / 52, abs=1e-3)
    assert found.apply(0.001) == pytest.approx(1 / 52, abs=1e-3)


def test_probabilities_of_exactly_zero_and_one_are_no_trouble() -> None:
    found = fit_platt(
        validation(np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 1, 1, 0]))
    )
    assert np.isfinite([found.slope, found.intercept]).all()
    assert 0 < found.apply(0.0) < 0.5 < found.apply(1.0) < 1


def test_useless_scores_are_flattened_to_the_prevalence() -> None:
    rng = np.random.default_rng(2)
    p, y = rng.uniform(0.01, 0.99, 4000), (rng.random(4000) < 0.3).astype(np.int64)
    found = fit_platt(validation(p, y))
    assert found.apply(0.1) == pytest.approx(0.3, abs=0.04)
    assert found.apply(0.9) == pytest.approx(0.3, abs=0.04)
