"""Development: a label's patients in the folds that train and validate; the tested are not here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from deepsmile_training.bundling.plan import MIN_TILES
from deepsmile_training.bundling.source import Source
from deepsmile_training.cohorts.labels import FoldLabels, resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.rules import Thresholds
from deepsmile_training.cohorts.splits import Fold, Split
from deepsmile_training.evidence.delong import LEAST
from deepsmile_training.evidence.folds import FOLDS
from deepsmile_training.evidence.sealed import read_seal
from deepsmile_training.metrics import Labels
from deepsmile_training.prepared.prepared import Prepared

FEWEST_FOLDS = 3
"""Two are left out together, and one trains."""


@dataclass(frozen=True)
class Development:
    """Patients with a class and features; no test patient has a class here."""

    label: str
    classes: tuple[str, ...]
    split: tuple[Fold, ...]
    of: Mapping[str, int]
    """Patient to the index of the class."""
    thresholds: Thresholds | None

    @property
    def folds(self) -> tuple[tuple[str, ...], ...]:
        """The patients of each fold; every one of them is in one."""
        return tuple(tuple(name for name in fold.val if name in self.of) for fold in self.split)

    @property
    def y(self) -> Labels:
        """(n,) classes, fold by fold."""
        return np.array([self.of[name] for fold in self.folds for name in fold], np.int64)

    def served(self, k: int) -> FoldLabels:
        """All folds but one to train on, and that one to choose the best step."""
        return self._labels(self.split[k])

    def inner(self, k: int, j: int) -> FoldLabels:
        """The same without fold k, which is to be predicted: fold j chooses, the rest trains."""
        held_out, chooser = self.split[k].val, self.split[j].val
        train = tuple(name for name in self.split[k].train if name not in set(chooser))
        return self._labels(Fold(train=train, val=chooser, test=held_out))

    def _labels(self, fold: Fold) -> FoldLabels:
        return FoldLabels(self.label, self.classes, fold, self.of, self.thresholds)


def development_of(source: Source, label: str, min_tiles: int = MIN_TILES) -> Development:
    """A label's development patients, all that they and the test are needed for possible.

    Raises:
        CohortInvalid: the label has not two classes, or some training would lack one; too few of
            one have a slide of `min_tiles`, to choose a calibration on or to test.
        RequestInvalid: some were tested before.
    """
    prepared = source.prepared
    check_split(prepared)
    classes = prepared.cohort.classes.get(label, ("no", "yes"))  # of a rule there are two
    if len(classes) != 2:
        raise CohortInvalid(
            f"label {label} has {len(classes)} classes: {', '.join(classes)}; a bundle's head"
            " answers yes or no",
            hint="Make a label of two classes, one for each question.",
        )
    found, *_ = [resolve_labels(prepared.cohort, fold, label) for fold in prepared.split.folds]
    first = prepared.split.folds[0]
    of = {
        name: found.of[name]
        for name in first.development
        if name in found.of and source.slides(name)
    }
    made = Development(label, found.classes, prepared.split.folds, of, found.thresholds)
    _check_trainings(made)
    read_seal(prepared.root).check_untested(frozenset(of))
    scored = {name for name in found.of if _is_scored(source, name, min_tiles)}
    _check_enough(found, "development", scored.intersection(first.development), FOLDS)
    _check_enough(found, "test", scored.intersection(first.test), LEAST)
    return made


def _is_scored(source: Source, patient: str, min_tiles: int) -> bool:
    return any(source.tiles(slide) >= min_tiles for slide in source.slides(patient))


def _check_enough(labels: FoldLabels, part: str, scored: Iterable[str], needed: int) -> None:
    """Raises CohortInvalid where fewer of a class would be scored than its figures need."""
    for name, count in zip(labels.classes, labels.count_of(scored), strict=True):
        if count < needed:
            raise CohortInvalid(
                f"label {labels.label}: {needed} {part} patients of each class need a slide of"
                f" enough tiles, and {count} of {name} have one",
                hint="Bring more patients, or ask for fewer tiles with --min-tiles.",
            )


def check_split(prepared: Prepared) -> None:
    """Raises CohortInvalid unless one test set stands beside folds that share out the rest."""
    split = prepared.split
    command = (
        f"deepsmile-train split {prepared.root / 'cohort.json'}"
        f" --out {prepared.root / 'split.json'} --label LABEL --plan kind=fixed-test"
    )
    complaint = _complaint(split)
    if complaint:
        raise CohortInvalid(complaint, hint=f"Make a split with `{command}`.")


def _complaint(split: Split) -> str:
    if split.kind != "fixed-test":
        return f"the split is {split.kind}: every patient is tested, and none is left for a bundle"
    if len(split.folds) < FEWEST_FOLDS:
        return f"{len(split.folds)} folds: a bundle needs {FEWEST_FOLDS}"
    everybody = sorted(split.folds[0].development)
    shared = sorted(name for fold in split.folds for name in fold.val)
    if shared != everybody or any(sorted(one.development) != everybody for one in split.folds):
        return "the folds do not share out one set of patients: each validates in one of them"
    return ""


def _check_trainings(made: Development) -> None:
    """Raises CohortInvalid where a part of some training would lack a class."""
    folds = range(len(made.split))
    for k in folds:
        served = made.served(k)
        served.check_classes(served.patients("val"), f"fold {k} (with features)")
    for k, j in permutations(folds, 2):
        inner = made.inner(k, j)
        inner.check_classes(inner.patients("train"), f"training (without folds {k}, {j})")
