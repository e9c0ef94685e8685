"""Logistic: maximum-likelihood fits of a few weights, by Newton's method."""

import numpy as np
from numpy.typing import NDArray

from deepsmile_training.metrics import Labels, Probabilities

MAX_STEPS = 100
TOLERANCE = 1e-10

Matrix = NDArray[np.float64]


def smoothed_targets(y: Labels) -> Probabilities:
    """Platt's own (1999), (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) instead of 1 and 0.

    They keep the weights finite where the classes are perfectly separated.
    """
    positives, negatives = int(y.sum()), int(len(y) - y.sum())
    return np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))  # (n,)


def fit_rising(x: Matrix, target: Probabilities) -> Matrix:
    """Weights (k,) >= 0 of the columns of `x` (n, k), and last the intercept.

    A column whose weight would be negative gets 0 and the others are fitted again, as Kull et al.
    (2017) do: a calibration never turns the ranking around.
    """
    weights = np.zeros(x.shape[1])  # (k,)
    used = np.arange(x.shape[1])  # (<= k,)
    while True:
        theta = fit_logistic(np.column_stack([x[:, used], np.ones(len(x))]), target)
        if (theta[:-1] >= 0).all():
            break
        used = np.delete(used, theta[:-1].argmin())
    weights[used] = theta[:-1]
    return np.append(weights, theta[-1])  # (k + 1,)


def fit_logistic(x: Matrix, target: Probabilities) -> Matrix:
    """Weights (k,) of sigmoid(x @ weights) for `x` (n, k) and targets (n,) from 0 to 1."""
    theta = np.zeros(x.shape[1])  # (k,)
    for _ in range(MAX_STEPS):
        step = _newton_step(x, target, theta)  # (k,)
        theta = theta + step  # (k,)
        if float(np.abs(step).max()) < TOLERANCE:
            break
    return theta


def _newton_step(x: Matrix, target: Probabilities, theta: Matrix) -> Matrix:
    """One damped step down the cross-entropy, (k,)."""
    q = (1 + np.tanh(x @ theta / 2)) / 2  # (n,) the sigmoid, without overflow
    slope = x.T @ (target - q)  # (k,)
    curvature = (x * (q * (1 - q))[:, None]).T @ x + 1e-9 * np.eye(len(theta))  # (k, k)
    step = np.asarray(np.linalg.solve(curvature, slope), np.float64)  # (k,)
    scale = 1.0
    while scale > 1e-6 and _loss(x, target, theta + scale * step) > _loss(x, target, theta):
        scale /= 2
    return scale * step


def _loss(x: Matrix, target: Probabilities, theta: Matrix) -> float:
    margin = x @ theta  # (n,)
    return float((np.logaddexp(0, margin) - target * margin).sum())
