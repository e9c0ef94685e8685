"""Answer: label, prediction set and doubt, from the members' probabilities."""

from typing import Any

import numpy as np
import pytest

from deepsmile.answer import answer
from deepsmile.contract import Head
from deepsmile.report import Scored

HEAD: dict[str, Any] = {
    "name": "mhrd",
    "sha256": "a" * 64,
    "members": 2,
    "negative": "proficient",
    "positive": "deficient",
    "min_tiles": 1,
    "calibration": {"method": "none"},
    "operating_points": [{"name": "half", "threshold": 0.5, "basis": "test"}],
    "decision": "half",
    "conformal": None,
    "novelty": None,
}


def ask(probability: float, bounds: tuple[float, float] | None, threshold: float = 0.5) -> Scored:
    """The answer to two members that agree; `bounds`: negative up to, positive from."""
    rule = bounds and {
        "coverage": 0.9,
        "negative_up_to": bounds[0],
        "positive_from": bounds[1],
        "basis": "test",
    }
    points = [{"name": "half", "threshold": threshold, "basis": "test"}]
    head = Head.model_validate({**HEAD, "conformal": rule, "operating_points": points})
    return answer(head, np.array([probability, probability]), None)


@pytest.mark.parametrize(
    ("probability", "bounds", "classes", "label"),
    [
        (0.2, (0.6, 0.4), ["proficient"], "proficient"),
        (0.5, (0.6, 0.4), ["proficient", "deficient"], None),
        (0.9, (0.6, 0.4), ["deficient"], "deficient"),
        (0.2, (0.3, 0.7), ["proficient"], "proficient"),
        (0.5, (0.3, 0.7), [], None),
        (0.9, (0.3, 0.7), ["deficient"], "deficient"),
        (0.6, (0.6, 0.7), ["proficient"], None),
        (0.3, (0.2, 0.3), ["deficient"], None),
        (0.9, (1.0, 0.0), ["proficient", "deficient"], None),
    ],
)
def test_a_label_is_given_when_it_is_all_that_the_set_holds(
    probability: float, bounds: tuple[float, float], classes: list[str], label: str | None
) -> None:
    """At its bound a class is in; both, none, or the other class than the threshold's: no label."""
    found = ask(probability, bounds)
    assert found.prediction_set is not None
    assert (list(found.prediction_set.classes), found.label) == (classes, label)
    assert found.prediction_set.coverage == 0.9
    assert found.probability == probability
    assert (found.reason is None) == (label is not None)


@pytest.mark.parametrize(
    ("probability", "bounds", "said"),
    [
        (0.5, (0.6, 0.4), "proficient and deficient in the prediction set"),
        (0.4, (0.3, 0.7), "neither class in the prediction set"),
        (0.6, (0.6, 0.7), "its operating point says deficient"),
    ],
)
def test_the_reason_tells_the_set_and_the_operating_point(
    probability: float, bounds: tuple[float, float], said: str
) -> None:
    reason = ask(probability, bounds).reason
    assert reason is not None
    assert reason.code == "uncertain"
    assert said in reason.detail
    assert "at 90% coverage" in reason.detail
    assert reason.hint


@pytest.mark.parametrize(("probability", "label"), [(0.49, "proficient"), (0.5, "deficient")])
def test_without_a_rule_the_operating_point_decides_alone(probability: float, label: str) -> None:
    found = ask(probability, None)
    assert (found.label, found.prediction_set, found.reason) == (label, None, None)


def test_the_set_is_that_of_the_rounded_probability() -> None:
    """What a reader of the report compares by hand is what was compared."""
    assert ask(0.6000004, (0.6, 0.7), threshold=0.65).label == "proficient"
    assert ask(0.6000006, (0.6, 0.7), threshold=0.65).label is None


def test_raw_probability_and_spread_are_those_of_the_members() -> None:
    found = answer(Head.model_validate(HEAD), np.array([0.2, 0.6]), 3.25)
    assert (found.probability_raw, found.spread, found.novelty) == (0.4, 0.2, 3.25)
