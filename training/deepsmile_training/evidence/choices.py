"""Choices: everything that validation decides, frozen and hashed before a test set is opened."""

from dataclasses import dataclass, field
from functools import cached_property

from deepsmile.calibration import Calibration
from deepsmile.contract import OperatingPoint
from deepsmile.digest import digest_of
from deepsmile_training.evidence.calibrate import apply, choose_calibration
from deepsmile_training.evidence.points import TARGETS, Targets, choose_points
from deepsmile_training.evidence.predictions import ValidationPredictions, selects


@dataclass(frozen=True)
class Choice:
    """A calibration and operating points, and the patients they were chosen on."""

    calibration: Calibration
    points: tuple[OperatingPoint, ...]
    log_losses: dict[str, float]
    """Of each calibration, cross-fitted on validation."""
    validation: str
    """Digest of the validation predictions."""
    patients: frozenset[str] = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of it; the validation digest stands for the patients."""
        return digest_of(
            {
                "calibration": self.calibration.model_dump(),
                "points": [point.model_dump() for point in self.points],
                "log_losses": self.log_losses,
                "validation": self.validation,
            }
        )


@selects
def make_choice(
    validation: ValidationPredictions, *, targets: Targets = TARGETS, seed: int = 0
) -> Choice:
    """Choose the calibration, then operating points on what it makes of the same patients.

    Scores that rank backwards are calibrated to one constant, and the points say what that is
    worth; predictions that are constant from the start raise RequestInvalid.
    """
    validation.require_ranking()
    chosen = choose_calibration(validation, seed=seed)
    calibrated = validation.with_probabilities(apply(chosen.calibration, validation.p))
    return Choice(
        calibration=chosen.calibration,
        points=choose_points(calibrated, targets),
        log_losses=chosen.log_losses,
        validation=validation.digest,
        patients=frozenset(validation.patients),
    )
