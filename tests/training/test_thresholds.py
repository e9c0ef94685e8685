"""Operating points on a case that can be checked by eye."""

import numpy as np
import pytest

from deepsmile_training.thresholds import DECISION, choose_points, rates

# 20 negatives at 0.00, 0.02 ... 0.38 with one at 0.90, and 20 positives at 0.50, 0.52 ... 0.88
# with one at 0.05: 0.9 is the only negative above 0.5, 0.05 the only positive below it.
NEGATIVE = np.append(np.arange(19) * 0.02 + 0.0, 0.90)
POSITIVE = np.append(np.arange(19) * 0.02 + 0.5, 0.05)
P = np.concatenate([NEGATIVE, POSITIVE])
Y = np.repeat([0, 1], 20)


def test_youden_cuts_between_the_classes() -> None:
    point = choose_points(P, Y)[0]
    assert point.name == DECISION
    assert point.threshold == pytest.approx((0.36 + 0.5) / 2)
    assert point.basis == (
        "largest sensitivity + specificity on 40 out-of-fold validation slides "
        "(sensitivity 0.950, specificity 0.950 there)"
    )


def test_rule_out_keeps_its_sensitivity_and_rule_in_its_specificity() -> None:
    points = {point.name: point for point in choose_points(P, Y)}
    assert rates(P, Y, points["rule_out"].threshold).sensitivity >= 0.95
    assert rates(P, Y, points["rule_in"].threshold).specificity >= 0.95


def test_a_target_that_is_hard_to_hold_moves_the_threshold() -> None:
    """With three positives among the negatives, sensitivity 0.95 costs specificity."""
    p, y = P.copy(), Y
    p[-3:] = [0.05, 0.07, 0.09]
    points = {point.name: point for point in choose_points(p, y)}
    assert points["rule_out"].threshold < 0.09
    found = rates(p, y, points["rule_out"].threshold)
    assert found.sensitivity == pytest.approx(0.95)
    assert found.specificity < 0.3


def test_the_points_stand_in_their_order() -> None:
    """Below rule_out everything is negative, above rule_in positive, even for easy classes."""
    rng = np.random.default_rng(0)
    for gap in (0.5, 1.0, 3.0, 9.0):
        y = np.arange(200) % 2
        p = 1 / (1 + np.exp(-(rng.normal(0, 1, 200) + gap * (y - 0.5))))
        points = {point.name: point.threshold for point in choose_points(p, y)}
        assert points["rule_out"] <= points["youden"] <= points["rule_in"]
        assert rates(p, y, points["rule_out"]).sensitivity >= 0.95
        assert rates(p, y, points["rule_in"]).specificity >= 0.95


def test_separated_classes_are_cut_in_the_middle() -> None:
    p, y = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1])
    assert {point.threshold for point in choose_points(p, y)} == {0.5}


def test_a_probability_at_the_threshold_is_positive_as_in_serving() -> None:
    found = rates(np.array([0.5, 0.49]), np.array([1, 0]), 0.5)
    assert (found.sensitivity, found.specificity) == (1, 1)
