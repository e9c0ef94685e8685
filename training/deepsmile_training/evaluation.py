"""Evaluation: a sealed bundle's figures on test slides, scored as serving scores them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deepsmile.backends import Backend
from deepsmile.bag import FeatureBag
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.errors import OutOfDistribution
from deepsmile.novelty import check_novelty
from deepsmile.pipeline import score_bag
from deepsmile.report import Scored
from deepsmile_training.evidence.points import Threshold, rates
from deepsmile_training.metrics import Estimate, Labels, auc, bootstrap, brier, ece

DECIMALS = 4


@dataclass(frozen=True)
class Figures:
    """One head on the test slides, with bootstrap intervals."""

    slides: int
    positives: int
    auc: Estimate
    brier_raw: Estimate
    brier: Estimate
    ece_raw: float
    """Without an interval, as in a report."""
    ece: float
    points: dict[str, Threshold]
    """What each operating point does on the test slides."""
    covered: dict[str, int] | None
    """Slides of each class whose prediction set holds it; None: the head makes no sets."""
    uncertain: int
    """Slides that get a probability and no label."""
    declined: int
    """Slides too novel for the head; the other figures are of all slides, these too."""

    def as_json(self) -> dict[str, Any]:
        """Plain values, rounded."""
        plain: dict[str, Any] = rounded(asdict(self))
        return plain


def evaluate(
    bundle: Bundle, backend: Backend, head: Head, bags: Sequence[FeatureBag], y: Labels, seed: int
) -> Figures:
    """Score bags with labels (n,) through `deepsmile.pipeline.score_bag` and sum up."""
    open_head = head.model_copy(update={"novelty": None})
    scores = [score_bag(bag, open_head, bundle, backend) for bag in bags]
    raw = np.array([score.probability_raw for score in scores])  # (n,)
    p = np.array([score.probability for score in scores])  # (n,)
    return Figures(
        slides=len(y),
        positives=int(y.sum()),
        auc=bootstrap(auc, p, y, seed),
        brier_raw=bootstrap(brier, raw, y, seed),
        brier=bootstrap(brier, p, y, seed),
        ece_raw=ece(raw, y),
        ece=ece(p, y),
        points={point.name: rates(p, y, point.threshold) for point in head.operating_points},
        covered=count_covered(scores, head, y),
        uncertain=sum(score.label is None for score in scores),
        declined=sum(is_declined(bag, head, bundle) for bag in bags),
    )


def count_covered(scores: Sequence[Scored], head: Head, y: Labels) -> dict[str, int] | None:
    """Of each class, how many prediction sets hold it; None: the head makes none."""
    if head.conformal is None:
        return None
    sets = [score.prediction_set.classes if score.prediction_set else () for score in scores]
    names = (head.negative, head.positive)
    return {
        name: sum(name in held for held, label in zip(sets, y, strict=True) if label == value)
        for value, name in enumerate(names)
    }


def is_declined(bag: FeatureBag, head: Head, bundle: Bundle) -> bool:
    """Whether a slide is too unlike the training slides for the head."""
    try:
        check_novelty(bag.features, head, bundle)
    except OutOfDistribution:
        return True
    return False


def rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same with its floats rounded to `DECIMALS`."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return round(value, DECIMALS) if isinstance(value, float) else value
