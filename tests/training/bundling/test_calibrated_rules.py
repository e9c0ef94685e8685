"""Prediction sets are of calibrated out-of-fold probabilities, which is what serving compares."""

import pytest

from deepsmile.report import DECIMALS
from deepsmile_training.bundling.development import development_of
from deepsmile_training.bundling.members import predict_held_out, train_members
from deepsmile_training.bundling.plan import Plan
from deepsmile_training.bundling.source import Source
from tests.training.bundling.conftest import Made

pytestmark = pytest.mark.slow


def test_prediction_sets_are_of_calibrated_probabilities(
    made: Made, source: Source, plan: Plan
) -> None:
    """Trained once more and counted by loops; the raw probabilities have other bounds."""
    head = made.bundle.contract.heads[0]
    rule = head.conformal
    assert rule is not None
    development = development_of(source, "MSI")
    members = train_members(source, development, plan.config, lambda: None)
    validation = predict_held_out(source, development, members, plan.min_tiles).validation
    y, raw = validation.y.tolist(), validation.p.tolist()
    calibrated = [round(head.calibration.apply(one), DECIMALS) for one in raw]
    found = (rule.negative_up_to, rule.positive_from)
    assert found == pytest.approx(bounds(calibrated, y, rule.coverage), abs=1e-5)
    assert found != pytest.approx(bounds(raw, y, rule.coverage), abs=0.02)


def bounds(p: list[float], y: list[int], coverage: float) -> tuple[float, float]:
    """The tightest that hold (n + 1) coverage of a class's n patients (Vovk et al. 2005)."""
    negative = [one for one, truth in zip(p, y, strict=True) if truth == 0]
    positive = [one for one, truth in zip(p, y, strict=True) if truth == 1]
    up_to, start = [], []
    for bound in negative:
        if sum(one <= bound for one in negative) >= (len(negative) + 1) * coverage - 1e-9:
            up_to.append(bound)
    for bound in positive:
        if sum(one >= bound for one in positive) >= (len(positive) + 1) * coverage - 1e-9:
            start.append(bound)
    return min(up_to), max(start)
