"""Operating points: thresholds, chosen on validation patients only."""

from dataclasses import dataclass

import numpy as np

from deepsmile.contract import OperatingPoint
from deepsmile.errors import RequestInvalid
from deepsmile.report import DECIMALS
from deepsmile_training.evidence.predictions import ValidationPredictions, selects
from deepsmile_training.metrics import Labels, Probabilities

DECISION = "youden"


@dataclass(frozen=True)
class Targets:
    """What the two safe points hold on the patients that they are chosen on."""

    sensitivity: float = 0.95
    """Of `rule_out`."""
    specificity: float = 0.95
    """Of `rule_in`."""

    def __post_init__(self) -> None:
        for name, share in (("sensitivity", self.sensitivity), ("specificity", self.specificity)):
            if not 0 < share <= 1:
                hint = "Choose a share above 0, up to 1."
                raise RequestInvalid(f"{name}: {share} cannot be a target", hint=hint)


TARGETS = Targets()


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it does on the patients it was chosen on."""

    value: float
    sensitivity: float
    specificity: float


@selects
def choose_points(
    validation: ValidationPredictions, targets: Targets = TARGETS
) -> tuple[OperatingPoint, ...]:
    """Three points on calibrated validation predictions.

    `youden` has the largest sensitivity + specificity. `rule_out` is the highest threshold, not
    above youden's, that holds its sensitivity; `rule_in` is the lowest, not below youden's, that
    holds its specificity. So a slide below `rule_out` is negative, and one above `rule_in`
    positive, whichever point decides. Ties go to the threshold nearest 0.5. Where all
    probabilities are equal nobody is ruled out, nobody is ruled in, and youden calls all positive.
    """
    found = _thresholds(validation.p, validation.y)
    youden = max(found, key=lambda t: (t.sensitivity + t.specificity, -abs(t.value - 0.5)))
    below = [t for t in found if t.value <= youden.value and t.sensitivity >= targets.sensitivity]
    above = [t for t in found if t.value >= youden.value and t.specificity >= targets.specificity]
    if not above:
        raise RequestInvalid(
            f"no threshold holds a specificity of {targets.specificity:g}: negatives at 1.0",
            hint="Lower the target, or look at what the model is so sure of.",
        )
    n = len(validation.y)
    return (
        _point(DECISION, youden, "largest sensitivity + specificity", n),
        _point(
            "rule_out",
            max(below, key=lambda t: t.value),
            f"highest, up to {DECISION}, with sensitivity >= {targets.sensitivity:g}",
            n,
        ),
        _point(
            "rule_in",
            min(above, key=lambda t: t.value),
            f"lowest, from {DECISION}, with specificity >= {targets.specificity:g}",
            n,
        ),
    )


def rates(p: Probabilities, y: Labels, threshold: float) -> Threshold:
    """Sensitivity and specificity at a threshold; at it counts as positive, as in serving."""
    called = p >= threshold  # (n,)
    return Threshold(threshold, float(called[y == 1].mean()), float((~called[y == 0]).mean()))


def _thresholds(p: Probabilities, y: Labels) -> list[Threshold]:
    """Every way to cut the patients in two: 0, 1, and the middles between neighbours."""
    values = np.unique(p)  # (k,) sorted
    middles = (values[1:] + values[:-1]) / 2  # (k - 1,)
    return [rates(p, y, round(float(t), DECIMALS)) for t in (0.0, *middles, 1.0)]


def _point(name: str, t: Threshold, rule: str, n: int) -> OperatingPoint:
    achieved = f"sensitivity {t.sensitivity:.3f}, specificity {t.specificity:.3f}"
    basis = f"{rule} on {n} out-of-fold validation predictions ({achieved} there)"
    return OperatingPoint(name=name, threshold=t.value, basis=basis)
