"""Thresholds: operating points, chosen on validation slides only."""

from dataclasses import dataclass

import numpy as np

from deepsmile.contract import OperatingPoint
from deepsmile.report import DECIMALS
from deepsmile_training.metrics import Labels, Probabilities

SENSITIVITY = 0.95
"""That `rule_out` holds."""
SPECIFICITY = 0.95
"""That `rule_in` holds."""
DECISION = "youden"


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it does on the slides it was chosen on."""

    value: float
    sensitivity: float
    specificity: float


def choose_points(p: Probabilities, y: Labels) -> tuple[OperatingPoint, ...]:
    """Three points on the calibrated probabilities of validation slides.

    `youden` has the largest sensitivity + specificity. `rule_out` is the highest threshold, not
    above youden's, that holds its sensitivity; `rule_in` is the lowest, not below youden's, that
    holds its specificity. So a slide below `rule_out` is negative, and one above `rule_in`
    positive, whichever point decides. Ties go to the threshold nearest 0.5.
    """
    found = _thresholds(p, y)
    youden = max(found, key=lambda t: (t.sensitivity + t.specificity, -abs(t.value - 0.5)))
    below = [t for t in found if t.value <= youden.value and t.sensitivity >= SENSITIVITY]
    above = [t for t in found if t.value >= youden.value and t.specificity >= SPECIFICITY]
    return (
        _point(DECISION, youden, "largest sensitivity + specificity", len(p)),
        _point(
            "rule_out",
            max(below, key=lambda t: t.value),
            f"highest, up to {DECISION}, with sensitivity >= {SENSITIVITY:g}",
            len(p),
        ),
        _point(
            "rule_in",
            min(above, key=lambda t: t.value),
            f"lowest, from {DECISION}, with specificity >= {SPECIFICITY:g}",
            len(p),
        ),
    )


def _thresholds(p: Probabilities, y: Labels) -> list[Threshold]:
    """Every way to cut the slides in two: 0, 1, and the middles between neighbours."""
    values = np.unique(p)  # (k,) sorted
    middles = (values[1:] + values[:-1]) / 2  # (k - 1,)
    return [rates(p, y, round(float(t), DECIMALS)) for t in (0.0, *middles, 1.0)]


def rates(p: Probabilities, y: Labels, threshold: float) -> Threshold:
    """Sensitivity and specificity at a threshold; at it counts as positive, as in serving."""
    called = p >= threshold  # (n,)
    return Threshold(threshold, float(called[y == 1].mean()), float((~called[y == 0]).mean()))


def _point(name: str, t: Threshold, rule: str, slides: int) -> OperatingPoint:
    achieved = f"sensitivity {t.sensitivity:.3f}, specificity {t.specificity:.3f}"
    basis = f"{rule} on {slides} out-of-fold validation slides ({achieved} there)"
    return OperatingPoint(name=name, threshold=t.value, basis=basis)
