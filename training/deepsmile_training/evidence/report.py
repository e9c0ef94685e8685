"""Report: all figures of a run with their intervals, as one JSON document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from deepsmile.calibration import Calibration
from deepsmile.contract import OperatingPoint
from deepsmile.report import RESEARCH_USE_ONLY
from deepsmile_training.evidence.attention import Strip
from deepsmile_training.evidence.choices import Choice
from deepsmile_training.evidence.curves import (
    Bin,
    Curve,
    DecisionCurve,
    decision_curve,
    precision_recall,
    proportion,
    reliability,
    roc,
)
from deepsmile_training.evidence.delong import Comparison, auc_with_interval, compare
from deepsmile_training.evidence.evaluated import Evaluated
from deepsmile_training.evidence.learning import LearningPoint
from deepsmile_training.evidence.predictions import Predictions
from deepsmile_training.evidence.subgroups import Subgroup, subgroups
from deepsmile_training.metrics import (
    Estimate,
    Labels,
    Probabilities,
    auc,
    auprc,
    bootstrap,
    brier,
    ece,
    log_loss,
)


class Part(BaseModel):
    """Figures that do not change; NaN is none of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cohort(Part):
    """Whom the figures are of."""

    how: str
    patients: int
    positives: int
    prevalence: Estimate
    slides: int | None
    look: int | None
    """1: the first model that was tested on any of them; None: they are no test patients."""


class Discrimination(Part):
    """How well raw probabilities rank."""

    auroc: Estimate
    """With DeLong's interval."""
    auroc_bootstrap: Estimate
    auprc: Estimate
    roc: Curve
    precision_recall: Curve


class Scale(Part):
    """How well probabilities can be read as frequencies."""

    mean_probability: float
    log_loss: float
    brier: Estimate
    ece: float
    """Without an interval: noise raises it, so a bootstrap's would lie above the truth."""
    auroc: float
    """Within the patients that share a calibration, averaged."""
    reliability: tuple[Bin, ...]


class Calibrations(Part):
    """What validation chose, and probabilities before and after."""

    chosen: Calibration
    log_losses: dict[str, float]
    raw: Scale
    calibrated: Scale


class PointFigures(Part):
    """What an operating point does; None where nobody is there to count."""

    point: OperatingPoint
    called_positive: int
    sensitivity: Estimate | None
    specificity: Estimate | None
    ppv: Estimate | None
    npv: Estimate | None


class Versus(Part):
    """Another model on the same patients."""

    name: str
    auroc: Estimate
    comparison: Comparison


class Attention(Part):
    """Weights of an example's pictures."""

    title: str
    caption: str
    weights: tuple[float, ...]


class EvidenceReport(Part):
    """The evidence on one run."""

    title: str
    research_use_only: str = RESEARCH_USE_ONLY
    notice: str
    """Such as that the data are synthetic; empty where nothing is to be said."""
    protocol: str
    digests: dict[str, str]
    software: dict[str, str]
    cohort: Cohort
    discrimination: Discrimination
    calibration: Calibrations
    points: tuple[PointFigures, ...]
    decision: DecisionCurve
    subgroups: tuple[Subgroup, ...]
    comparisons: tuple[Versus, ...]
    learning: tuple[LearningPoint, ...]
    attention: tuple[Attention, ...]


@dataclass(frozen=True)
class Setting:
    """What the report says besides figures, and the seed of its bootstrap."""

    title: str
    protocol: str = ""
    notice: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Extras:
    """Parts that not every run has."""

    others: Mapping[str, Predictions]
    """Other models' predictions for the same patients."""
    learning: Sequence[LearningPoint] = ()
    strips: Sequence[Strip] = ()


NO_EXTRAS = Extras({})


def make_report(
    evaluated: Evaluated, choice: Choice, setting: Setting, extras: Extras = NO_EXTRAS
) -> EvidenceReport:
    """Every figure of patients that took no part in the choice that is evaluated on them."""
    predictions = evaluated.predictions
    predictions.require_ranking()
    return EvidenceReport(
        title=setting.title,
        notice=setting.notice,
        protocol=setting.protocol,
        digests={
            "predictions": predictions.digest,
            "validation": choice.validation,
            "choice": choice.digest,
        },
        software={name: version(name) for name in ("deepsmile", "numpy", "scikit-learn", "scipy")},
        cohort=_cohort(evaluated),
        discrimination=_discrimination(predictions, setting.seed),
        calibration=Calibrations(
            chosen=choice.calibration,
            log_losses=choice.log_losses,
            raw=_scale(evaluated, predictions.p, setting.seed),
            calibrated=_scale(evaluated, evaluated.calibrated, setting.seed),
        ),
        points=tuple(
            _point(point, evaluated.called[point.name], predictions.y) for point in choice.points
        ),
        decision=decision_curve(evaluated.calibrated, predictions.y),
        subgroups=subgroups(evaluated),
        comparisons=tuple(
            _versus(name, predictions, other) for name, other in extras.others.items()
        ),
        learning=tuple(extras.learning),
        attention=tuple(
            Attention(title=strip.title, caption=strip.caption, weights=strip.weights)
            for strip in extras.strips
        ),
    )


def _cohort(evaluated: Evaluated) -> Cohort:
    predictions = evaluated.predictions
    n, positives = len(predictions.y), int(predictions.y.sum())
    prevalence = proportion(positives, n)
    assert prevalence is not None  # predictions have patients
    return Cohort(
        how=evaluated.how,
        patients=n,
        positives=positives,
        prevalence=prevalence,
        slides=sum(predictions.slides) or None,
        look=evaluated.look,
    )


def _discrimination(predictions: Predictions, seed: int) -> Discrimination:
    p, y = predictions.p, predictions.y
    return Discrimination(
        auroc=auc_with_interval(p, y),
        auroc_bootstrap=bootstrap(auc, p, y, seed),
        auprc=bootstrap(auprc, p, y, seed),
        roc=roc(p, y),
        precision_recall=precision_recall(p, y),
    )


def _scale(evaluated: Evaluated, p: Probabilities, seed: int) -> Scale:
    y = evaluated.predictions.y
    return Scale(
        mean_probability=float(p.mean()),
        log_loss=log_loss(p, y),
        brier=bootstrap(brier, p, y, seed),
        ece=ece(p, y),
        auroc=evaluated.auc_within_blocks(p),
        reliability=reliability(p, y),
    )


def _point(point: OperatingPoint, called: NDArray[np.bool_], y: Labels) -> PointFigures:
    true = y == 1  # (n,)
    hits, passes = int((called & true).sum()), int((~called & ~true).sum())
    return PointFigures(
        point=point,
        called_positive=int(called.sum()),
        sensitivity=proportion(hits, int(true.sum())),
        specificity=proportion(passes, int((~true).sum())),
        ppv=proportion(hits, int(called.sum())),
        npv=proportion(passes, int((~called).sum())),
    )


def _versus(name: str, predictions: Predictions, other: Predictions) -> Versus:
    return Versus(
        name=name,
        auroc=auc_with_interval(other.p, other.y),
        comparison=compare(predictions, other),
    )
