"""DeLong: intervals of AUROC, and the test between two models on the same patients.

DeLong et al. 1988; computed from midranks in O(n log n) as by Sun and Xu 2014.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.predictions import Predictions
from deepsmile_training.metrics import COVERAGE, Estimate, Labels, Probabilities

NORMAL = NormalDist()
LEAST = 2
"""Patients of a class."""
Z = NORMAL.inv_cdf((1 + COVERAGE) / 2)


@dataclass(frozen=True)
class Comparison:
    """AUROC of a model minus another's, and whether chance explains it."""

    difference: Estimate
    z: float
    p_value: float
    """Two-sided; 1 for models that rank alike."""


def auc_with_interval(p: Probabilities, y: Labels) -> Estimate:
    """AUROC and its interval, cut at 0 and 1.

    Where all positives outrank all negatives it has no width: nothing in the data says how far
    from 1 the truth may be.
    """
    areas, covariance = areas_and_covariance(p[None], y)
    return _estimate(float(areas[0]), float(covariance[0, 0]), low=0)


def compare(model: Predictions, other: Predictions) -> Comparison:
    """DeLong's test for correlated curves; the rows may stand in another order."""
    p = np.stack([model.p, _aligned(model, other)])  # (2, n)
    areas, covariance = areas_and_covariance(p, model.y)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance > 1e-15:
        z = difference / variance**0.5
    elif difference == 0:
        z = 0.0
    else:
        hint = "Neither ever wavers; compare them on more patients."
        raise RequestInvalid("the difference of the AUROCs has no variance", hint=hint)
    return Comparison(_estimate(difference, max(variance, 0.0), low=-1), z, 2 * NORMAL.cdf(-abs(z)))


def require_two(y: Labels) -> None:
    """Raises RequestInvalid where a class of y (n,) has one patient, who does not vary, or none."""
    m, n = int((y == 1).sum()), int((y == 0).sum())
    if min(m, n) < LEAST:
        detail = f"DeLong's interval needs two patients of each class: {m} positive, {n} negative"
        raise RequestInvalid(detail, hint="Bring more patients.")


def areas_and_covariance(
    p: NDArray[np.float64], y: Labels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROCs (k,) of k models' probabilities (k, n), and their covariance (k, k)."""
    require_two(y)
    m, n = int((y == 1).sum()), int((y == 0).sum())
    ordered = np.concatenate([p[:, y == 1], p[:, y == 0]], axis=1)  # (k, m + n)
    ranks = rankdata(ordered, axis=1)  # (k, m + n) midranks
    positive = (ranks[:, :m] - rankdata(ordered[:, :m], axis=1)) / n  # (k, m) V10
    negative = 1 - (ranks[:, m:] - rankdata(ordered[:, m:], axis=1)) / m  # (k, n) V01
    covariance = np.atleast_2d(np.cov(positive)) / m + np.atleast_2d(np.cov(negative)) / n
    return positive.mean(axis=1), covariance


def _aligned(model: Predictions, other: Predictions) -> Probabilities:
    """The other model's probabilities (n,) in the order of this one's patients."""
    row = {patient: i for i, patient in enumerate(other.patients)}
    if row.keys() != set(model.patients):
        alone = len(row.keys() ^ set(model.patients))
        hint = "Predict the same patients with both models."
        raise RequestInvalid(f"{alone} patients were scored by one of the models only", hint=hint)
    rows = np.array([row[patient] for patient in model.patients])  # (n,)
    if (other.y[rows] != model.y).any():
        hint = "Take the labels of both tables from one source."
        raise RequestInvalid("the two tables disagree on the label of a patient", hint=hint)
    aligned: Probabilities = other.p[rows]  # (n,)
    return aligned


def _estimate(value: float, variance: float, low: float) -> Estimate:
    reach = Z * variance**0.5
    return Estimate(value, max(value - reach, low), min(value + reach, 1.0))
