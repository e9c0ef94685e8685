"""Splits: who is trained on, who chooses the model, who is tested; always whole patients."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid, PatientOverlap, some
from deepsmile_training.cohorts.rules import DevelopmentScores, Thresholds
from deepsmile_training.cohorts.sealed import Record, Sealed, read_sealed
from deepsmile_training.cohorts.strata import sites_of

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
AGAIN = (
    "Split again with `deepsmile-train split`; with --keep OLD.json a fixed test set keeps its"
    " patients, and only new ones are dealt."
)
Kind = Literal["nested", "fixed-test"]


class Fold(Record):
    """One training: no patient stands in two of its parts, and none of them is empty."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    subsets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Share of the training patients ("0.1") to those patients, for learning curves."""
    thresholds: dict[str, Thresholds] = Field(default_factory=dict)
    """Label by rule to the cuts that training and validation patients give."""

    @model_validator(mode="after")
    def _keeps_patients_apart(self) -> Self:
        _refuse_overlap(self.part(name) for name in PARTS)
        empty = [name for name in PARTS if not self.part(name)]
        if empty:
            raise CohortInvalid(
                f"a fold without {some(list(empty))} patients",
                hint="Use fewer folds or other shares; by site, there must be enough sites.",
            )
        for share, subset in self.subsets.items():
            _refuse_overlap([subset])
            if not set(subset) <= set(self.train):
                raise PatientOverlap(f"subset {share} has patients that are not trained on")
        return self

    @property
    def development(self) -> tuple[str, ...]:
        """Training and validation patients: all that may be looked at (eq. 1, D_TCGA-BC)."""
        return self.train + self.val

    def part(self, name: Part) -> tuple[str, ...]:
        """The patients of one part, sorted."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]


class Split(Sealed):
    """The folds of an experiment, for one cohort as it was."""

    cohort: str
    """Its digest."""
    kind: Kind
    """nested: each patient is tested at most once; fixed-test: every fold tests the same."""
    made: dict[str, object]
    """How: the plan with its seed, or the files that were imported."""
    folds: tuple[Fold, ...]

    @property
    def patients(self) -> frozenset[str]:
        """Everybody in some part of some fold."""
        return frozenset(
            chain.from_iterable(fold.part(part) for fold in self.folds for part in PARTS)
        )

    @model_validator(mode="after")
    def _tests_as_it_says(self) -> Self:
        tests = [fold.test for fold in self.folds]
        if self.kind == "nested":
            _refuse_overlap(tests)
        elif len(set(tests)) > 1:
            raise CohortInvalid("a fixed test set differs between folds")
        return self


def development_scores(cohort: Cohort, fold: Fold, column: str) -> DevelopmentScores:
    """A score of all training and validation patients that have one; the test's stay unseen."""
    patients = [cohort.by_name[name] for name in fold.development]
    values = tuple(one.scores[column] for one in patients if column in one.scores)
    return DevelopmentScores(column, values)


def load_split(path: Path, cohort: Cohort) -> Split:
    """A split as it was written, for this very cohort.

    Raises PatientOverlap where a patient is in two parts, CohortInvalid where patients are
    missing, thresholds differ from what the patients give, sites that were to stay whole do not,
    or the cohort is another one.
    """
    split = read_sealed(path, Split)
    check_split(split, cohort)
    return split


def check_split(split: Split, cohort: Cohort) -> None:
    """Raises CohortInvalid unless the split is this cohort's, and what it says of itself."""
    strangers = sorted(split.patients - set(cohort.by_name))
    if strangers:
        raise CohortInvalid(
            f"the split has patients that {cohort.name} lacks: {some(strangers)}", hint=AGAIN
        )
    if split.cohort != cohort.digest:
        raise CohortInvalid(f"the split was made for another state of {cohort.name}", hint=AGAIN)
    for fold in split.folds:
        for label, thresholds in fold.thresholds.items():
            rule = cohort.rules[label]
            if rule.fit(development_scores(cohort, fold, rule.column)) != thresholds:
                raise CohortInvalid(f"label {label}: thresholds are not the training patients'")
        if split.made.get("by_site"):
            _refuse_shared_sites(fold, cohort)


def _refuse_overlap(parts: Iterable[tuple[str, ...]]) -> None:
    times = Counter(chain.from_iterable(parts))
    twice = sorted(name for name, count in times.items() if count > 1)
    if twice:
        raise PatientOverlap(f"patients in two parts: {some(twice)}")


def _refuse_shared_sites(fold: Fold, cohort: Cohort) -> None:
    parts = [[cohort.by_name[name] for name in fold.part(part)] for part in PARTS]
    for its in parts:
        sites_of(its)  # refuses those without one
    times = Counter(chain.from_iterable({str(one.site) for one in its} for its in parts))
    shared = sorted(site for site, count in times.items() if count > 1)
    if shared:
        raise CohortInvalid(
            f"by_site: sites in two parts of a fold: {some(shared)}",
            hint="Split again: leave out by_site, or a test_where that cuts sites in two.",
        )
