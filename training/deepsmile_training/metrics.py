"""Metrics: how well probabilities rank, and how well they can be read as frequencies."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
"""(n,) of the positive class."""
Labels = NDArray[np.int64]
"""(n,) 0 or 1."""
Metric = Callable[[Probabilities, Labels], float]

ECE_BINS = 10
RESAMPLES = 2000
COVERAGE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure and its bootstrap interval."""

    value: float
    low: float
    high: float


def auc(p: Probabilities, y: Labels) -> float:
    """Area under the ROC curve: how often a positive outranks a negative; ties count half."""
    positive, negative = p[y == 1], p[y == 0]  # (n1,), (n0,)
    margin = positive[:, None] - negative[None]  # (n1, n0)
    return float(((margin > 0) + 0.5 * (margin == 0)).mean())


def brier(p: Probabilities, y: Labels) -> float:
    """Mean squared difference from the labels; 0.25 for a constant 0.5."""
    return float(((p - y) ** 2).mean())


def ece(p: Probabilities, y: Labels) -> float:
    """Expected calibration error over `ECE_BINS` bins of equal width."""
    bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)  # (n,)
    gaps = np.bincount(bins, p - y, minlength=ECE_BINS)  # (ECE_BINS,) sums of differences
    return float(np.abs(gaps).sum() / len(p))


def bootstrap(metric: Metric, p: Probabilities, y: Labels, seed: int) -> Estimate:
    """The metric with its percentile interval, resampling slides within each class."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(y == label) for label in (0, 1)]
    values = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rng.choice(group, len(group)) for group in groups])  # (n,)
        values.append(metric(p[drawn], y[drawn]))
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Estimate(metric(p, y), float(low), float(high))
