"""Learning: how AUROC grows with the number of training patients."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.delong import auc_with_interval
from deepsmile_training.evidence.predictions import Predictions
from deepsmile_training.metrics import Estimate


@dataclass(frozen=True)
class Run:
    """What a model trained on so many patients says of the patients that all runs share."""

    trained_on: int
    predictions: Predictions


@dataclass(frozen=True)
class LearningPoint:
    """AUROC of one run; repeated runs of a size are points of their own."""

    trained_on: int
    auroc: Estimate


def learning_curve(runs: Sequence[Run]) -> tuple[LearningPoint, ...]:
    """By size; the intervals are over the patients, not over training's own chance."""
    if len({frozenset(run.predictions.patients) for run in runs}) > 1:
        hint = "Predict the same patients with every run."
        raise RequestInvalid("the runs of a learning curve score different patients", hint=hint)
    points = [
        LearningPoint(run.trained_on, auc_with_interval(run.predictions.p, run.predictions.y))
        for run in runs
    ]
    return tuple(sorted(points, key=lambda point: (point.trained_on, point.auroc.value)))
