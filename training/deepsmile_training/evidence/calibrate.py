"""Calibrating: temperature, Platt, beta, isotonic, fitted and chosen on validation patients."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepsmile.calibration import (
    EPSILON,
    Beta,
    Calibration,
    Isotonic,
    Platt,
    Temperature,
)
from deepsmile_training.evidence.folds import FOLDS, stratified_folds
from deepsmile_training.evidence.logistic import fit_logistic, fit_rising, smoothed_targets
from deepsmile_training.evidence.predictions import ValidationPredictions, selects
from deepsmile_training.metrics import Probabilities, log_loss

FLATTEST_SLOPE = 1e-3
"""Of temperature scaling, for scores that rank no better than chance: a temperature of 1000."""
TIE_DECIMALS = 4
"""Log-losses that agree so far are a tie."""


@selects
def fit_temperature(validation: ValidationPredictions) -> Temperature:
    """Guo et al. 2017: sigmoid(logit(p) / temperature)."""
    x = _logit(validation.p)[:, None]  # (n, 1)
    slope = float(fit_logistic(x, smoothed_targets(validation.y))[0])
    return Temperature(method="temperature", temperature=1 / max(slope, FLATTEST_SLOPE))


@selects
def fit_platt(validation: ValidationPredictions) -> Platt:
    """Platt 1999: sigmoid(slope * logit(p) + intercept), with his targets."""
    x = _logit(validation.p)[:, None]  # (n, 1)
    slope, intercept = fit_rising(x, smoothed_targets(validation.y)).tolist()
    return Platt(method="platt", slope=slope, intercept=intercept)


@selects
def fit_beta(validation: ValidationPredictions) -> Beta:
    """Kull et al. 2017: a logistic regression on ln p and -ln(1 - p), both weights >= 0."""
    p = _clipped(validation.p)  # (n,)
    x = np.stack([np.log(p), -np.log1p(-p)], axis=1)  # (n, 2)
    a, b, c = fit_rising(x, smoothed_targets(validation.y)).tolist()
    return Beta(method="beta", a=a, b=b, c=c)


@selects
def fit_isotonic(validation: ValidationPredictions) -> Isotonic:
    """Zadrozny and Elkan 2002: the rising line nearest to Platt's targets; equal p stay equal."""
    from sklearn.isotonic import IsotonicRegression

    line = IsotonicRegression().fit(validation.p, validation.y)
    targets = smoothed_targets(validation.y)  # (n,)
    # The line of scaled labels is the scaled line, here without the rounding of equal means.
    y = targets.min() + np.ptp(targets) * line.y_thresholds_  # (knots,)
    return Isotonic(method="isotonic", x=tuple(line.X_thresholds_.tolist()), y=tuple(y.tolist()))


Fitter = Callable[[ValidationPredictions], Calibration]
FITTERS: dict[str, Fitter] = {
    "temperature": fit_temperature,
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}
"""The simplest first."""


@dataclass(frozen=True)
class Calibrating:
    """The calibration that was chosen, and why."""

    calibration: Calibration
    log_losses: dict[str, float]
    """Of each method, cross-fitted, and of the raw probabilities ("none")."""


@selects
def choose_calibration(
    validation: ValidationPredictions, *, seed: int, folds: int = FOLDS
) -> Calibrating:
    """The method of the least cross-fitted log-loss, fitted on all; ties go to the simplest."""
    losses = {
        name: log_loss(cross_fitted(validation, fit, seed=seed, folds=folds), validation.y)
        for name, fit in FITTERS.items()
    }
    best = min(FITTERS, key=lambda name: round(losses[name], TIE_DECIMALS))
    raw = {"none": log_loss(validation.p, validation.y)}
    return Calibrating(FITTERS[best](validation), raw | losses)


@selects
def cross_fitted(
    validation: ValidationPredictions, fit: Fitter, *, seed: int, folds: int = FOLDS
) -> Probabilities:
    """Probabilities (n,), each by a calibration fitted without the patient's fold."""
    p = np.full(len(validation.y), np.nan)  # (n,)
    for outside, inside in stratified_folds(validation.y, seed, folds):
        p[inside] = apply(fit(validation.taken(outside)), validation.p[inside])
    return p


def apply(calibration: Calibration, p: Probabilities) -> Probabilities:
    """Calibrated probabilities (n,), by the code that serves them."""
    return np.array([calibration.apply(one) for one in p.tolist()])


def _clipped(p: Probabilities) -> Probabilities:
    return np.clip(p, EPSILON, 1 - EPSILON)


def _logit(p: Probabilities) -> Probabilities:
    kept = _clipped(p)  # (n,)
    return np.log(kept / (1 - kept))
