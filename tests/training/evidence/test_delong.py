"""DeLong against the definition, pair by pair, and against values worked out by hand."""

import numpy as np
import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.delong import areas_and_covariance, auc_with_interval, compare
from deepsmile_training.evidence.predictions import TestPredictions
from deepsmile_training.metrics import auc
from tests.training.evidence.cases import drawn_test


def by_definition(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong et al. 1988, section 2: the kernel psi over all m * n pairs."""
    x, z = p[:, y == 1], p[:, y == 0]  # (k, m), (k, n)
    (k, m), n = x.shape, z.shape[1]
    psi = np.array(
        [[[1.0 if a > b else 0.5 if a == b else 0.0 for b in z[r]] for a in x[r]] for r in range(k)]
    )  # (k, m, n)
    theta, v10, v01 = psi.mean((1, 2)), psi.mean(2), psi.mean(1)
    s10, s01 = np.zeros((k, k)), np.zeros((k, k))
    for r in range(k):
        for s in range(k):
            s10[r, s] = ((v10[r] - theta[r]) * (v10[s] - theta[s])).sum() / (m - 1)
            s01[r, s] = ((v01[r] - theta[r]) * (v01[s] - theta[s])).sum() / (n - 1)
    return theta, s10 / m + s01 / n


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_areas_and_covariance_are_those_of_the_definition(seed: int, decimals: int) -> None:
    """With many ties, with few, with none; three correlated models."""
    rng = np.random.default_rng(seed)
    y = (rng.random(60) < 0.3).astype(np.int64)
    shared = rng.normal(0, 1, 60) + y
    margin = shared + rng.normal(0, 0.7, (3, 60))
    p = (1 / (1 + np.exp(-margin))).round(decimals)
    areas, covariance = areas_and_covariance(p, y)
    slow_areas, slow_covariance = by_definition(p, y)
    np.testing.assert_allclose(areas, slow_areas, rtol=1e-12)
    np.testing.assert_allclose(covariance, slow_covariance, rtol=1e-9, atol=1e-15)


def test_a_case_worked_out_by_hand() -> None:
    """Positives .3 and .5, negatives .1 and .4: V10 = (1/2, 1), V01 = (1, 1/2).

    AUROC 3/4; both have the variance 1/8, and 1/8 / 2 + 1/8 / 2 = 1/8.
    """
    p, y = np.array([[0.3, 0.5, 0.1, 0.4]]), np.array([1, 1, 0, 0])
    areas, covariance = areas_and_covariance(p, y)
    assert areas[0] == pytest.approx(0.75)
    assert covariance[0, 0] == pytest.approx(0.125)
    found = auc_with_interval(p[0], y)
    assert (found.low, found.high) == (pytest.approx(0.75 - 1.959964 * 0.125**0.5), 1.0)


def test_a_comparison_worked_out_by_hand() -> None:
    """Against a model that turns one pair: psi differs in that pair only.

    The other's V10 = (0, 1) and V01 = (1/2, 1/2), so its AUROC is 1/2. The difference has
    V10 = (1/2, 0) and V01 = (1/2, 0), both of variance 1/8, and 1/8 / 2 + 1/8 / 2 = 1/8.
    z = 1/4 / sqrt(1/8) = 0.7071, and 2 (1 - Phi(0.7071)) = 0.4795.
    """
    y = np.array([1, 1, 0, 0])
    names = ("a", "b", "c", "d")
    one = TestPredictions(names, y, np.array([0.3, 0.5, 0.1, 0.4]))
    other = TestPredictions(names, y, np.array([0.1, 0.5, 0.2, 0.3]))
    found = compare(one, other)
    assert found.difference.value == pytest.approx(0.25)
    assert found.z == pytest.approx(0.70710678)
    assert found.p_value == pytest.approx(0.4795, abs=1e-4)


def test_the_area_is_the_metric() -> None:
    test = drawn_test()
    assert auc_with_interval(test.p, test.y).value == pytest.approx(auc(test.p, test.y), rel=1e-12)


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    """Normal scores one standard deviation apart: AUROC = Phi(1 / sqrt 2) = 0.76025."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [80, 40])
    intervals = [auc_with_interval(rng.normal(y, 1.0), y) for _ in range(400)]
    held = np.mean([one.low <= 0.76025 <= one.high for one in intervals])
    assert 0.92 <= held <= 0.97


def test_the_test_is_right_about_equal_models_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1], [60, 40])
    called = 0
    for _ in range(300):
        shared = rng.normal(y, 1.0)
        p = 1 / (1 + np.exp(-(shared + rng.normal(0, 1, (2, 100)))))
        a, b = (TestPredictions.numbered(row, y) for row in p)
        called += compare(a, b).p_value < 0.05
    assert 0.02 <= called / 300 <= 0.08


def test_patients_are_matched_by_name_not_by_row() -> None:
    test = drawn_test()
    shuffled = test.taken(np.random.default_rng(0).permutation(300))
    found = compare(test, shuffled)
    assert (found.difference.value, found.z, found.p_value) == (0, 0, 1)


def test_other_patients_or_labels_are_refused() -> None:
    test = drawn_test()
    with pytest.raises(RequestInvalid, match="10 patients were scored by one"):
        compare(test, test.taken(np.arange(290)))
    with pytest.raises(RequestInvalid, match="disagree on the label"):
        compare(test, TestPredictions(test.patients, 1 - test.y, test.p))


def test_one_patient_of_a_class_has_no_interval() -> None:
    with pytest.raises(RequestInvalid, match="1 positive, 3 negative"):
        auc_with_interval(np.array([0.9, 0.1, 0.2, 0.3]), np.array([1, 0, 0, 0]))


def test_a_difference_that_nothing_varies_is_refused_not_called_certain() -> None:
    y = np.array([1, 1, 0, 0])
    right = TestPredictions.numbered(np.array([0.9, 0.8, 0.1, 0.2]), y)
    wrong = TestPredictions.numbered(np.array([0.1, 0.2, 0.9, 0.8]), y)
    with pytest.raises(RequestInvalid, match="no variance"):
        compare(right, wrong)
