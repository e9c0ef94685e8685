"""Operating points on a case that can be checked by eye."""

import numpy as np
import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.points import DECISION, Targets, choose_points, rates
from tests.training.evidence.cases import validation

# 20 negatives at 0.00, 0.02 ... 0.38 with one at 0.90, and 20 positives at 0.50, 0.52 ... 0.88
# with one at 0.05: 0.9 is the only negative above 0.5, 0.05 the only positive below it.
NEGATIVE = np.append(np.arange(19) * 0.02 + 0.0, 0.90)
POSITIVE = np.append(np.arange(19) * 0.02 + 0.5, 0.05)
P = np.concatenate([NEGATIVE, POSITIVE])
Y = np.repeat([0, 1], 20)


def test_youden_cuts_between_the_classes() -> None:
    point = choose_points(validation(P, Y))[0]
    assert point.name == DECISION
    assert point.threshold == pytest.approx((0.36 + 0.5) / 2)
    assert point.basis == (
        "largest sensitivity + specificity on 40 out-of-fold validation predictions "
        "(sensitivity 0.950, specificity 0.950 there)"
    )


def test_rule_out_keeps_its_sensitivity_and_rule_in_its_specificity() -> None:
    points = {point.name: point for point in choose_points(validation(P, Y))}
    assert rates(P, Y, points["rule_out"].threshold).sensitivity >= 0.95
    assert rates(P, Y, points["rule_in"].threshold).specificity >= 0.95


def test_a_target_that_is_hard_to_hold_moves_the_threshold() -> None:
    """With three positives among the negatives, sensitivity 0.95 costs specificity."""
    p, y = P.copy(), Y
    p[-3:] = [0.05, 0.07, 0.09]
    points = {point.name: point for point in choose_points(validation(p, y))}
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
        points = {point.name: point.threshold for point in choose_points(validation(p, y))}
        assert points["rule_out"] <= points["youden"] <= points["rule_in"]
        assert rates(p, y, points["rule_out"]).sensitivity >= 0.95
        assert rates(p, y, points["rule_in"]).specificity >= 0.95


def test_separated_classes_are_cut_in_the_middle() -> None:
    p, y = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1])
    assert {point.threshold for point in choose_points(validation(p, y))} == {0.5}


def test_a_probability_at_the_threshold_is_positive_as_in_serving() -> None:
    found = rates(np.array([0.5, 0.49]), np.array([1, 0]), 0.5)
    assert (found.sensitivity, found.specificity) == (1, 1)


def test_the_targets_are_what_the_points_hold() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    p = 1 / (1 + np.exp(-(rng.normal(0, 1, 400) + (y - 0.5))))
    points = {point.name: point for point in choose_points(validation(p, y), Targets(0.9, 0.8))}
    out, into = points["rule_out"].threshold, points["rule_in"].threshold
    assert rates(p, y, out).sensitivity >= 0.9 > rates(p, y, out + 0.01).sensitivity
    assert rates(p, y, into).specificity >= 0.8 > rates(p, y, into - 0.01).specificity
    assert "sensitivity >= 0.9 " in points["rule_out"].basis


@pytest.mark.parametrize("targets", [(0.0, 0.9), (0.9, 1.2), (float("nan"), 0.9)])
def test_a_target_that_is_no_share_is_refused(targets: tuple[float, float]) -> None:
    with pytest.raises(RequestInvalid, match="cannot be a target"):
        Targets(*targets)


def test_constant_predictions_are_ruled_neither_out_nor_in() -> None:
    """The documented answer, and the basis says what it is worth."""
    points = choose_points(validation(np.full(4, 0.4), np.array([0, 1, 0, 1])))
    assert {point.name: point.threshold for point in points} == {
        "youden": 0,
        "rule_out": 0,
        "rule_in": 1,
    }
    assert "(sensitivity 1.000, specificity 0.000 there)" in points[0].basis


def test_a_specificity_that_nothing_holds_is_refused() -> None:
    """Half of the negatives at 1.0, which is positive at every threshold."""
    with pytest.raises(RequestInvalid, match=r"no threshold holds a specificity of 0\.95"):
        choose_points(validation(np.array([1.0, 0.2, 1.0, 0.9]), np.array([0, 0, 1, 1])))
