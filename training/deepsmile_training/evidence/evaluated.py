"""Evaluated: what a choice makes of patients that took no part in it."""

import math
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.calibrate import apply
from deepsmile_training.evidence.choices import Choice, make_choice
from deepsmile_training.evidence.folds import FOLDS, stratified_folds
from deepsmile_training.evidence.points import TARGETS, Targets
from deepsmile_training.evidence.predictions import Predictions, ValidationPredictions, selects
from deepsmile_training.evidence.sealed import SealedTest
from deepsmile_training.metrics import Probabilities, auc

SEALED = "sealed test set"
CROSS_FITTED = f"validation, cross-fitted in {FOLDS} folds"


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Patients with calibrated probabilities, and who is called positive at each point."""

    how: str
    predictions: Predictions
    """With raw probabilities."""
    calibrated: Probabilities
    """(n,)"""
    called: dict[str, NDArray[np.bool_]]
    """Operating point -> (n,)."""
    blocks: NDArray[np.int64]
    """(n,) patients of one block share a calibration."""
    look: int | None
    """1: the first model that was tested on any of them; None: they are validation patients."""

    def auc_within_blocks(self, p: Probabilities) -> float:
        """Mean AUROC of the blocks: what mixing the scales of several calibrations cannot move."""
        y = self.predictions.y  # (n,)
        found = [auc(p[rows], y[rows]) for rows in map(self._rows, np.unique(self.blocks))]
        return float(np.mean(found))

    def _rows(self, block: np.int64) -> NDArray[np.int64]:
        return np.flatnonzero(self.blocks == block)


def on_sealed_test(sealed: SealedTest, choice: Choice) -> Evaluated:
    """Open the test set for the choice."""
    opened = sealed.open(choice)
    test = opened.predictions
    calibrated = apply(choice.calibration, test.p)  # (n,)
    called = {point.name: calibrated >= point.threshold for point in choice.points}
    return Evaluated(SEALED, test, calibrated, called, np.zeros(len(test.y), np.int64), opened.look)


NEEDED = next(n for n in count(FOLDS) if n - math.ceil(n / FOLDS) >= FOLDS)
"""Patients of a class, so that each fold's choice has enough of them for folds of its own."""


@selects
def cross_evaluated(
    validation: ValidationPredictions, *, targets: Targets = TARGETS, seed: int = 0
) -> Evaluated:
    """Without a test set: every fold by the choice made on the others, choosing included.

    Raises:
        RequestInvalid: a class has fewer than `NEEDED` patients.
    """
    n, rarest = len(validation.y), int(np.bincount(validation.y, minlength=2).min())
    if rarest < NEEDED:
        raise RequestInvalid(
            f"{NEEDED} patients of each class are needed without a validation table, and one has"
            f" {rarest}",
            hint="Bring more patients, or others to choose on with --validation.",
        )
    calibrated = np.full(n, np.nan)  # (n,)
    blocks = np.zeros(n, np.int64)  # (n,)
    called: dict[str, NDArray[np.bool_]] = {}
    for k, (outside, inside) in enumerate(stratified_folds(validation.y, seed)):
        choice = make_choice(validation.taken(outside), targets=targets, seed=seed)
        blocks[inside] = k
        calibrated[inside] = apply(choice.calibration, validation.p[inside])
        for point in choice.points:
            calls = called.setdefault(point.name, np.zeros(n, np.bool_))  # (n,)
            calls[inside] = calibrated[inside] >= point.threshold
    return Evaluated(CROSS_FITTED, validation, calibrated, called, blocks, look=None)
