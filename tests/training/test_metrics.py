"""Metrics against hand-made cases and slow loops."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from deepsmile.errors import RequestInvalid
from deepsmile_training.metrics import Metric, auc, auprc, bootstrap, brier, ece, log_loss


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


@pytest.mark.parametrize("metric", [brier, auprc])
def test_intervals_hold_what_all_patients_would_give(metric: Metric) -> None:
    """Cohorts of 100 with 15 positives: 95 % are meant, and above 90 % held.

    Drawn within classes, where the share of positives never varies, they held 57 % and 85 %.
    """
    truth, rng = metric(*cohort(np.random.default_rng(0), 400_000)), np.random.default_rng(1)
    found = [bootstrap(metric, *cohort(rng, 100), seed=i, resamples=150) for i in range(300)]
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.9 < held < 0.98


def cohort(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n,) that are frequencies, about 1 in 6 positive, and labels (n,)."""
    p = 1 / (1 + np.exp(-rng.normal(-2, 1, n)))
    return p, (rng.random(n) < p).astype(np.int64)


def test_a_resample_without_a_class_is_drawn_anew() -> None:
    """One positive of six is left out by a third of them; no area would exist."""
    y = np.array([0, 0, 0, 0, 0, 1])
    estimate = bootstrap(auc, np.linspace(0, 1, 6), y, seed=0)
    assert (estimate.low, estimate.high) == (1, 1)


@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_areas_and_log_loss_are_scikit_learns(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    y = (rng.random(200) < 0.2).astype(np.int64)
    p = np.clip(0.2 + 0.2 * y + rng.normal(0, 0.2, 200), 0.01, 0.99).round(decimals)
    p = np.clip(p, 1e-6, 1 - 1e-6)
    assert auc(p, y) == pytest.approx(roc_auc_score(y, p), rel=1e-12)
    assert auprc(p, y) == pytest.approx(average_precision_score(y, p), rel=1e-12)
    assert log_loss(p, y) == pytest.approx(sklearn_log_loss(y, p), rel=1e-9)


def test_a_sure_mistake_costs_much_but_not_everything() -> None:
    """Probabilities are kept 1e-7 off 0 and 1, as in serving."""
    assert log_loss(np.array([0.0]), np.array([1])) == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize("metric", [auc, auprc])
def test_ranking_without_an_answer_is_refused(metric: object) -> None:
    """One class only, or NaN among the scores: never a silent number."""
    assert callable(metric)
    p = np.array([0.2, 0.8])
    for label in (0, 1):
        with pytest.raises(RequestInvalid, match="both classes are needed"):
            metric(p, np.array([label, label]))
    with pytest.raises(RequestInvalid, match="NaN"):
        metric(np.array([0.2, np.nan]), np.array([0, 1]))
