"""Metrics: how well probabilities rank, and how well they can be read as frequencies."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from deepsmile.calibration import EPSILON
from deepsmile.errors import RequestInvalid

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
    """A figure and its interval."""

    value: float
    low: float
    high: float


def auc(p: Probabilities, y: Labels) -> float:
    """Area under the ROC curve: how often a positive outranks a negative; ties count half."""
    positives, negatives = _rankable(p, y)
    ranks = rankdata(p)  # (n,) midranks
    wins = float(ranks[y == 1].sum()) - positives * (positives + 1) / 2
    return wins / (positives * negatives)


def auprc(p: Probabilities, y: Labels) -> float:
    """Average precision, without interpolation; useless scores have the prevalence.

    As scikit-learn's, whose checks would take ten times as long as the work in a bootstrap.
    """
    positives, _ = _rankable(p, y)
    order = np.argsort(-p, kind="stable")  # (n,)
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # (k,) last of equal p
    true = np.cumsum(y[order])[ends]  # (k,) positives at or above
    gained = np.diff(true, prepend=0)  # (k,)
    return float((gained * true / (ends + 1)).sum() / positives)


def brier(p: Probabilities, y: Labels) -> float:
    """Mean squared difference from the labels; 0.25 for a constant 0.5."""
    return float(((p - y) ** 2).mean())


def log_loss(p: Probabilities, y: Labels) -> float:
    """Mean negative log-likelihood in nats, of probabilities kept off 0 and 1 as in serving."""
    kept = np.clip(p, EPSILON, 1 - EPSILON)  # (n,)
    return float(-np.where(y == 1, np.log(kept), np.log1p(-kept)).mean())


def ece(p: Probabilities, y: Labels) -> float:
    """Expected calibration error over `ECE_BINS` bins of equal width."""
    gaps = np.bincount(ece_bins(p), p - y, minlength=ECE_BINS)  # (ECE_BINS,) sums of differences
    return float(np.abs(gaps).sum() / len(p))


def ece_bins(p: Probabilities) -> NDArray[np.int64]:
    """The bin (n,) of each probability; 1 belongs to the last."""
    return np.minimum((p * ECE_BINS).astype(np.int64), ECE_BINS - 1)


def bootstrap(
    metric: Metric, p: Probabilities, y: Labels, seed: int, *, resamples: int = RESAMPLES
) -> Estimate:
    """The metric with its percentile interval over patients (n,), drawn anew if of one class.

    The share of positives is drawn with them: another cohort would have another one, too. Not for
    the ECE, which rises with every resampling.
    """
    rng = np.random.default_rng(seed)
    values: list[float] = []
    while len(values) < resamples:
        drawn = rng.integers(len(y), size=len(y))  # (n,)
        if 0 < y[drawn].sum() < len(y):
            values.append(metric(p[drawn], y[drawn]))
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Estimate(metric(p, y), float(low), float(high))


def _rankable(p: Probabilities, y: Labels) -> tuple[int, int]:
    """How many positives and negatives there are; without one of them there is no answer."""
    if not np.isfinite(p).all():
        raise RequestInvalid("a score is NaN or infinite", hint="Find out why before ranking it.")
    positives = int(y.sum())
    if positives in (0, len(y)):
        detail = f"both classes are needed to rank them: {positives} of {len(y)} are positive"
        raise RequestInvalid(detail, hint="Choose patients, or folds, that have both.")
    return positives, len(y) - positives
