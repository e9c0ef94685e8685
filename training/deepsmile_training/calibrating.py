"""Calibrating: Platt scaling fitted on slides that no member was trained on."""

import numpy as np

from deepsmile.calibration import EPSILON, Platt
from deepsmile_training.metrics import Labels, Probabilities

MAX_STEPS = 100
TOLERANCE = 1e-10


def fit_platt(p: Probabilities, y: Labels) -> Platt:
    """Slope and intercept of sigmoid(slope * logit(p) + intercept), by Newton's method.

    The targets are Platt's own (1999), (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) instead of 1 and 0:
    they keep the slope finite where the classes are perfectly separated.
    """
    clipped = np.clip(p, EPSILON, 1 - EPSILON)  # (n,)
    x = np.stack([np.log(clipped / (1 - clipped)), np.ones(len(p))], axis=1)  # (n, 2)
    positives, negatives = int(y.sum()), int(len(y) - y.sum())
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))  # (n,)
    theta: Probabilities = np.zeros(2)  # (2,) slope, intercept
    for _ in range(MAX_STEPS):
        step = _newton_step(x, target, theta)  # (2,)
        theta = theta + step  # (2,)
        if float(np.abs(step).max()) < TOLERANCE:
            break
    return Platt(method="platt", slope=float(theta[0]), intercept=float(theta[1]))


def _newton_step(x: Probabilities, target: Probabilities, theta: Probabilities) -> Probabilities:
    """One damped step down the cross-entropy, (2,)."""
    q = (1 + np.tanh(x @ theta / 2)) / 2  # (n,) the sigmoid, without overflow
    slope = x.T @ (target - q)  # (2,)
    curvature = (x * (q * (1 - q))[:, None]).T @ x + 1e-9 * np.eye(2)  # (2, 2)
    step = np.asarray(np.linalg.solve(curvature, slope), np.float64)  # (2,)
    scale = 1.0
    while scale > 1e-6 and _loss(x, target, theta + scale * step) > _loss(x, target, theta):
        scale /= 2
    return scale * step


def _loss(x: Probabilities, target: Probabilities, theta: Probabilities) -> float:
    margin = x @ theta  # (n,)
    return float((np.logaddexp(0, margin) - target * margin).sum())
