"""Choices: everything that validation decides, frozen and hashed before a test set is opened."""

from dataclasses import asdict, dataclass, field
from functools import cached_property

from deepsmile.calibration import Calibration
from deepsmile.contract import OperatingPoint
from deepsmile.digest import digest_of
from deepsmile_training.evidence.calibrate import FITTERS, apply, choose_calibration
from deepsmile_training.evidence.folds import FOLDS
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
    targets: Targets
    seed: int
    """Of the folds that judge calibrations."""
    patients: frozenset[str] = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that decides it: processors differ in what they make of that."""
        return digest_of(
            {
                "validation": self.validation,
                "targets": asdict(self.targets),
                "seed": self.seed,
                "folds": FOLDS,
                "calibrations": list(FITTERS),
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
        targets=targets,
        seed=seed,
        patients=frozenset(validation.patients),
    )
