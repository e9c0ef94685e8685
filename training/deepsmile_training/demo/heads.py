"""Heads: a label's ensemble, exported, calibrated, with its operating points."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deepsmile.bag import Features
from deepsmile.contract import Head, Novelty
from deepsmile.digest import digest_of_file
from deepsmile_training.bundling.places import NOVELTY_FILE
from deepsmile_training.bundling.plan import MIN_TILES
from deepsmile_training.demo.cohort import Label, Split
from deepsmile_training.demo.fit import Recipe, fit_ensemble
from deepsmile_training.evidence.calibrate import apply, fit_platt
from deepsmile_training.evidence.points import DECISION, choose_points
from deepsmile_training.evidence.predictions import ValidationPredictions
from deepsmile_training.metrics import Labels, auc
from deepsmile_training.mil.ensemble import export_ensemble
from deepsmile_training.trust.conformal import fit_conformal
from deepsmile_training.trust.novelty import RATE, fit_novelty, mean_features, patients_needed


@dataclass(frozen=True)
class MadeHead:
    """A head, and how it ranked the slides that its thresholds were chosen on."""

    head: Head
    out_of_fold_auc: float


def make_head(
    label: Label,
    bags: list[Features],
    y: Labels,
    split: Split,
    *,
    seed: int,
    recipe: Recipe,
    path: Path,
    advance: Callable[[], None],
) -> MadeHead:
    """Fit, export to `path`, calibrate and choose thresholds; the test slides stay out of it."""
    fit = fit_ensemble(bags, y, split, seed, recipe=recipe, advance=advance)
    export_ensemble(fit.ensemble, path)
    validation = ValidationPredictions.numbered(fit.out_of_fold, y[fit.slides])
    calibration = fit_platt(validation)
    calibrated = validation.with_probabilities(apply(calibration, validation.p))
    head = Head(
        name=label.name,
        sha256=digest_of_file(path),
        members=len(fit.ensemble.members),
        negative=label.negative,
        positive=label.positive,
        min_tiles=MIN_TILES,
        calibration=calibration,
        operating_points=choose_points(calibrated),
        decision=DECISION,
        conformal=fit_conformal(calibrated),
        novelty=_novelty(bags, split, path.with_name(NOVELTY_FILE)),
    )
    return MadeHead(head, auc(validation.p, validation.y))


def _novelty(bags: list[Features], split: Split, path: Path) -> Novelty | None:
    """Fitted on the slides outside the test set and written to `path`; None: they are too few."""
    if sum(map(len, split.folds)) < patients_needed(RATE):
        return None
    return fit_novelty(mean_features(bags), split.folds).write(path)
