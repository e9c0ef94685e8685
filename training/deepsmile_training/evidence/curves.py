"""Curves: ROC, precision-recall, reliability, and decision curve, as points to draw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsmile_training.metrics import (
    COVERAGE,
    ECE_BINS,
    Estimate,
    Labels,
    Probabilities,
    ece_bins,
)

THRESHOLDS = tuple(i / 100 for i in range(1, 100))
"""Of the decision curve."""
DIGITS = 6


@dataclass(frozen=True)
class Curve:
    """Points to join."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Bin:
    """Patients whose probabilities lie in one bin: what was said of them, and what was so."""

    patients: int
    predicted: float
    """Their mean probability."""
    observed: Estimate
    """Their share of positives, with Wilson's interval."""


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit per patient (Vickers and Elkin 2006), of acting on the model, on all, on none."""

    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    everybody: tuple[float, ...]
    """Nobody has 0 everywhere."""


def proportion(count: int, of: int) -> Estimate | None:
    """A share with Wilson's interval (1927); None where there is nobody to count."""
    from scipy.stats import binomtest

    if of == 0:
        return None
    interval = binomtest(count, of).proportion_ci(COVERAGE, method="wilson")
    return Estimate(count / of, float(interval.low), float(interval.high))


def roc(p: Probabilities, y: Labels) -> Curve:
    """Sensitivity over 1 - specificity."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(y, p)
    return _curve(false, true)


def precision_recall(p: Probabilities, y: Labels) -> Curve:
    """Precision over recall."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(y, p)
    return _curve(recall, precision)


def reliability(p: Probabilities, y: Labels) -> tuple[Bin, ...]:
    """The bins of the ECE that hold anybody, `ECE_BINS` of equal width."""
    bins = ece_bins(p)  # (n,)
    members = [np.flatnonzero(bins == k) for k in range(ECE_BINS)]
    return tuple(_bin(p[rows], y[rows]) for rows in members if len(rows))


def decision_curve(
    p: Probabilities, y: Labels, thresholds: Sequence[float] = THRESHOLDS
) -> DecisionCurve:
    """Net benefit TP / n - FP / n * t / (1 - t) of acting on p >= t."""
    t = np.asarray(thresholds)  # (k,)
    odds = t / (1 - t)  # (k,)
    called = p[None] >= t[:, None]  # (k, n)
    true, false = called @ y / len(y), called @ (1 - y) / len(y)  # (k,), (k,)
    prevalence = float(y.mean())
    everybody = prevalence - (1 - prevalence) * odds  # (k,)
    return DecisionCurve(tuple(thresholds), _plain(true - false * odds), _plain(everybody))


def _bin(p: Probabilities, y: Labels) -> Bin:
    observed = proportion(int(y.sum()), len(y))
    assert observed is not None  # an empty bin is not asked for
    return Bin(len(y), float(p.mean()), observed)


def _curve(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    return Curve(_plain(x), _plain(y))


def _plain(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(values, DIGITS).tolist())
