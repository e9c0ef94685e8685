"""Metrics against hand-made cases and slow loops."""

import numpy as np
import pytest

from deepsmile_training.metrics import auc, bootstrap, brier, ece


def sample(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = (rng.random(n) < 0.5).astype(np.int64)
    return np.round(np.clip(0.3 + 0.3 * y + rng.normal(0, 0.2, n), 0, 1), 1), y


def test_auc_is_how_often_a_positive_outranks_a_negative() -> None:
    """Mann and Whitney's statistic, ties half, by loops."""
    p, y = sample()
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in p[y == 1] for b in p[y == 0]]
    assert auc(p, y) == pytest.approx(np.mean(wins))


def test_auc_of_perfect_and_of_useless_scores() -> None:
    y = np.array([0, 0, 1, 1])
    assert auc(np.array([0.1, 0.2, 0.8, 0.9]), y) == 1
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), y) == 0.5


def test_brier_of_a_known_case() -> None:
    assert brier(np.array([0.8, 0.4]), np.array([1, 0])) == pytest.approx((0.04 + 0.16) / 2)


def test_ece_of_a_known_case() -> None:
    """Two bins: |0.5 - 0.15| for two slides, |1 - 0.95| for one; probability 1 is in the last."""
    p, y = np.array([0.12, 0.18, 0.95]), np.array([0, 1, 1])
    assert ece(p, y) == pytest.approx((2 * 0.35 + 1 * 0.05) / 3)
    assert ece(np.array([1.0]), np.array([1])) == 0


def test_the_interval_holds_the_value_and_is_seeded() -> None:
    p, y = sample()
    estimate = bootstrap(auc, p, y, seed=1)
    assert estimate == bootstrap(auc, p, y, seed=1)
    assert estimate.value == auc(p, y)
    assert 0.5 < estimate.low < estimate.value < estimate.high <= 1
