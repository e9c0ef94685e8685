"""Answer: what a head says of a slide, from its members' probabilities."""

import numpy as np
from numpy.typing import NDArray

from deepsmile.contract import Head
from deepsmile.errors import Uncertain
from deepsmile.report import DECIMALS, PredictionSet, Reason, Scored


def answer(head: Head, members: NDArray[np.float64], novelty: float | None) -> Scored:
    """Members' raw probabilities (M,) -> calibrated probability, prediction set and label."""
    raw = float(members.mean())
    probability = round(head.calibration.apply(raw), DECIMALS)
    point = head.decision_point
    label = head.positive if probability >= point.threshold else head.negative
    classes = prediction_set(head, probability)
    reason = _doubt(head, classes, label)
    return Scored(
        head=head.name,
        head_sha256=head.sha256,
        calibration_digest=head.calibration_digest,
        positive=head.positive,
        probability_raw=round(raw, DECIMALS),
        probability=probability,
        calibration=head.calibration.method,
        spread=round(float(members.std()), DECIMALS),
        members=head.members,
        label=None if reason else label,
        operating_point=point,
        prediction_set=classes,
        novelty=novelty,
        reason=reason,
    )


def prediction_set(head: Head, probability: float) -> PredictionSet | None:
    """The classes that a calibrated probability does not rule out; None: the head has no rule."""
    rule = head.conformal
    if rule is None:
        return None
    held = {
        head.negative: probability <= rule.negative_up_to,
        head.positive: probability >= rule.positive_from,
    }
    return PredictionSet(
        classes=tuple(name for name, is_in in held.items() if is_in), coverage=rule.coverage
    )


def _doubt(head: Head, found: PredictionSet | None, label: str) -> Reason | None:
    """Why `label` is not reported; None: it is all that the prediction set holds."""
    if found is None or found.classes == (label,):
        return None
    classes = " and ".join(found.classes) or "neither class"
    return Reason.of(
        Uncertain(
            f"{classes} in the prediction set of the head {head.name}, at {found.coverage:.0%}"
            f" coverage; its operating point says {label}"
        )
    )
