"""Heads: a label's ensemble, exported, calibrated, with all that lets it abstain."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from deepsmile.contract import Conformal, Head, Novelty
from deepsmile.digest import digest_of_file
from deepsmile.triton.models import MODEL_FILE
from deepsmile_training.bundling.development import Development
from deepsmile_training.bundling.members import HeldOut, Members, predict_held_out, train_members
from deepsmile_training.bundling.places import NOVELTY_FILE
from deepsmile_training.bundling.plan import Plan, head_name
from deepsmile_training.bundling.source import Source
from deepsmile_training.evidence.calibrate import apply
from deepsmile_training.evidence.choices import Choice, make_choice
from deepsmile_training.evidence.points import DECISION
from deepsmile_training.evidence.predictions import ValidationPredictions
from deepsmile_training.mil.ensemble import export_ensemble
from deepsmile_training.trust.conformal import conformal_rank, fit_conformal
from deepsmile_training.trust.novelty import fit_novelty, patients_needed


@dataclass(frozen=True, eq=False)
class MadeHead:
    """A head with its files, and what it was chosen on; the test has had no part in it."""

    head: Head
    files: dict[str, Path]
    """By the names they have in a repository."""
    development: Development
    members: Members
    held_out: HeldOut
    choice: Choice
    notes: tuple[str, ...]
    """What it does without, and why."""


def make_head(
    source: Source, development: Development, plan: Plan, folder: Path, advance: Callable[[], None]
) -> MadeHead:
    """Train, export into `folder`, calibrate, choose thresholds and rules to abstain by.

    Raises:
        RequestInvalid: predictions that rank nobody, or too few patients of a class.
    """
    members = train_members(source, development, plan.config, advance)
    held_out = predict_held_out(source, development, members, plan.min_tiles)
    choice = make_choice(held_out.validation, targets=plan.targets, seed=plan.config.seed)
    calibrated = held_out.validation.with_probabilities(
        apply(choice.calibration, held_out.validation.p)
    )
    notes: list[str] = []
    files = {MODEL_FILE: folder / MODEL_FILE}
    export_ensemble(members.served, files[MODEL_FILE])
    novelty = make_novelty(held_out, plan.novelty_rate, folder / NOVELTY_FILE, notes)
    if novelty:
        files[NOVELTY_FILE] = folder / NOVELTY_FILE
    negative, positive = development.classes
    head = Head(
        name=head_name(development.label),
        sha256=digest_of_file(files[MODEL_FILE]),
        members=len(members.served.members),
        negative=negative,
        positive=positive,
        min_tiles=plan.min_tiles,
        calibration=choice.calibration,
        operating_points=choice.points,
        decision=DECISION,
        conformal=make_conformal(calibrated, plan.coverage, notes),
        novelty=novelty,
    )
    return MadeHead(head, files, development, members, held_out, choice, tuple(notes))


def make_conformal(
    calibrated: ValidationPredictions, coverage: float, notes: list[str]
) -> Conformal | None:
    """Null where a class has too few patients to ever be ruled out."""
    needed = next(n for n in count(1) if conformal_rank(n, coverage) <= n)
    fewest = int(np.bincount(calibrated.y, minlength=2).min())
    if fewest < needed:
        notes.append(
            f"No prediction sets: a coverage of {coverage:.0%} needs {needed} development patients"
            f" of either class, and one has {fewest}."
        )
        return None
    return fit_conformal(calibrated, coverage)


def make_novelty(held_out: HeldOut, rate: float, path: Path, notes: list[str]) -> Novelty | None:
    """Null where there are too few patients for the rate."""
    needed, patients = patients_needed(rate), len(set(held_out.patients))
    if patients < needed:
        notes.append(
            f"No novelty rule: a rate of {rate:g} needs {needed} development patients, and there"
            f" are {patients}."
        )
        return None
    folds = [np.flatnonzero(held_out.folds == k) for k in np.unique(held_out.folds)]
    fitted = fit_novelty(held_out.means, folds, patients=held_out.patients, rate=rate)
    return fitted.write(path)
