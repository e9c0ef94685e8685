"""Evaluation: a sealed bundle's figures on test slides, scored as serving scores them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deepsmile.backends import Backend
from deepsmile.bag import FeatureBag
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.pipeline import score_bag
from deepsmile_training.metrics import Estimate, Labels, auc, bootstrap, brier, ece
from deepsmile_training.thresholds import Threshold, rates

DECIMALS = 4


@dataclass(frozen=True)
class Figures:
    """One head on the test slides, with bootstrap intervals."""

    slides: int
    positives: int
    auc: Estimate
    brier_raw: Estimate
    brier: Estimate
    ece_raw: Estimate
    ece: Estimate
    points: dict[str, Threshold]
    """What each operating point does on the test slides."""

    def as_json(self) -> dict[str, Any]:
        """Plain values, rounded."""
        rounded: dict[str, Any] = _rounded(asdict(self))
        return rounded


def evaluate(
    bundle: Bundle, backend: Backend, head: Head, bags: Sequence[FeatureBag], y: Labels, seed: int
) -> Figures:
    """Score bags with labels (n,) through `deepsmile.pipeline.score_bag` and sum up."""
    scores = [score_bag(bag, head, bundle, backend) for bag in bags]
    raw = np.array([score.probability_raw for score in scores])  # (n,)
    p = np.array([score.probability for score in scores])  # (n,)
    return Figures(
        slides=len(y),
        positives=int(y.sum()),
        auc=bootstrap(auc, p, y, seed),
        brier_raw=bootstrap(brier, raw, y, seed),
        brier=bootstrap(brier, p, y, seed),
        ece_raw=bootstrap(ece, raw, y, seed),
        ece=bootstrap(ece, p, y, seed),
        points={point.name: rates(p, y, point.threshold) for point in head.operating_points},
    )


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, DECIMALS) if isinstance(value, float) else value
