"""Curves against loops and published values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsmile_training.evidence.curves import (
    decision_curve,
    precision_recall,
    proportion,
    reliability,
    roc,
)
from deepsmile_training.metrics import auc, ece
from tests.training.evidence.cases import drawn


def test_wilson_interval_of_published_cases() -> None:
    """Newcombe 1998, table I: 81 of 263, and 0 of 20."""
    found, none = proportion(81, 263), proportion(0, 20)
    assert found is not None
    assert none is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert (round(none.low, 4), round(none.high, 4)) == (0.0, 0.1611)


def test_a_share_of_nobody_is_no_number() -> None:
    assert proportion(0, 0) is None


def test_roc_is_what_cutting_at_every_score_gives() -> None:
    p, y = drawn(80, seed=0)
    curve = roc(p.round(1), y)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(auc(p.round(1), y), abs=1e-5)
    for threshold in np.unique(p.round(1)):
        called = p.round(1) >= threshold
        x, sensitivity = called[y == 0].mean(), called[y == 1].mean()
        assert np.interp(x, curve.x, curve.y) == pytest.approx(sensitivity, abs=0.02)


def test_precision_at_full_recall_is_the_prevalence() -> None:
    p, y = drawn(80, seed=0)
    curve = precision_recall(p, y)
    assert (curve.x[0], curve.y[0]) == (1, pytest.approx(y.mean(), abs=1e-5))
    assert (curve.x[-1], curve.y[-1]) == (0, 1)


def test_reliability_bins_of_a_case_worked_out_by_hand() -> None:
    p = np.array([0.12, 0.18, 0.55, 0.51, 0.59, 1.0])
    y = np.array([0, 1, 1, 0, 1, 1])
    bins = reliability(p, y)
    assert [one.patients for one in bins] == [2, 3, 1]
    assert [one.predicted for one in bins] == pytest.approx([0.15, 0.55, 1.0])
    assert [one.observed.value for one in bins] == pytest.approx([0.5, 2 / 3, 1.0])


@given(st.integers(0, 1000), st.integers(10, 60))
def test_ece_is_the_weighted_gap_of_the_bins(seed: int, n: int) -> None:
    p, y = drawn(n, seed)
    bins = reliability(p, y)
    gaps = [one.patients / n * abs(one.predicted - one.observed.value) for one in bins]
    assert ece(p, y) == pytest.approx(sum(gaps))


def test_net_benefit_by_loops() -> None:
    """Vickers and Elkin 2006: TP / n - FP / n * t / (1 - t)."""
    p, y = drawn(50, seed=3)
    found = decision_curve(p, y, (0.1, 0.25, 0.6))
    for i, t in enumerate((0.1, 0.25, 0.6)):
        true = sum(a >= t and b == 1 for a, b in zip(p, y, strict=True))
        false = sum(a >= t and b == 0 for a, b in zip(p, y, strict=True))
        assert found.model[i] == pytest.approx((true - false * t / (1 - t)) / 50, abs=1e-6)
        prevalence = y.mean()
        everybody = prevalence - (1 - prevalence) * t / (1 - t)
        assert found.everybody[i] == pytest.approx(everybody, abs=1e-6)


def test_perfect_scores_gain_the_prevalence_at_every_threshold() -> None:
    y = np.array([0, 0, 0, 1])
    assert set(decision_curve(y.astype(float), y).model) == {0.25}
