"""Cohort: patients with their slides, sites, labels and scores, in one readable file."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from deepsmile_training.cohorts.problems import CohortInvalid, some
from deepsmile_training.cohorts.rules import ThresholdRule
from deepsmile_training.cohorts.sealed import Record, Sealed, read_sealed

NOT_STRATA = ("patient", "y", "p", "logit", "slide", "part")
"""Columns of tables of predictions with a meaning of their own; every other one makes subgroups."""
PROBABILITY = "p_"
"""How those begin that hold the probability of one of several classes."""


class Patient(Record):
    """One patient; what is unknown is absent."""

    name: str = Field(min_length=1)
    site: str | None = None
    slides: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    """Label to the name of its class."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Continuous values, for rules and strata."""
    strata: dict[str, str] = Field(default_factory=dict)
    """Values that splits can be balanced by, and that nothing is trained on."""


class Cohort(Sealed):
    """Patients in the order of their names, whatever order the tables had."""

    name: str
    sources: dict[str, str] = Field(default_factory=dict)
    """Table to the SHA-256 of its bytes."""
    notes: dict[str, int] = Field(default_factory=dict)
    """What to know of the tables, counted: who was left out and why."""
    classes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Label to its classes; their order is their index."""
    rules: dict[str, ThresholdRule] = Field(default_factory=dict)
    """Labels that each fold of a split resolves by its own training patients."""
    patients: tuple[Patient, ...]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        _check_names(self)
        _check_labels(self)
        _check_strata(self)
        return self

    @cached_property
    def by_name(self) -> Mapping[str, Patient]:
        """Every patient by name."""
        return {patient.name: patient for patient in self.patients}

    @cached_property
    def patient_of_slide(self) -> Mapping[str, str]:
        """Slide to its patient."""
        return {slide: one.name for one in self.patients for slide in one.slides}

    @property
    def label_names(self) -> tuple[str, ...]:
        """All labels, resolved or by rule."""
        return (*self.classes, *self.rules)

    def with_label(self, label: str, classes: tuple[str, ...], of: Mapping[str, str]) -> Self:
        """The same cohort with one label more; `of` gives patients' classes by name."""
        patients = [
            one.model_copy(update={"labels": one.labels | {label: of[one.name]}})
            if one.name in of
            else one
            for one in self.patients
        ]
        changed = {"classes": self.classes | {label: classes}, "patients": patients}
        return type(self).model_validate(self.model_dump() | changed)


def make_cohort(name: str, patients: Iterable[Patient], **known: object) -> Cohort:
    """A cohort of these patients in the order of their names."""
    ordered = tuple(sorted(patients, key=lambda patient: patient.name))
    return Cohort.model_validate({"name": name, "patients": ordered, **known})


def load_cohort(path: Path) -> Cohort:
    """A cohort as it was written; verifies its digest, names and labels."""
    return read_sealed(path, Cohort)


def _check_names(cohort: Cohort) -> None:
    names = [patient.name for patient in cohort.patients]
    if not names:
        why = "".join(f"; {note}: {count}" for note, count in cohort.notes.items())
        raise CohortInvalid(f"{cohort.name}: no patient is left{why}")
    if names != sorted(set(names)):
        raise CohortInvalid(f"{cohort.name}: patients are listed twice or out of order")
    slides = Counter(slide for patient in cohort.patients for slide in patient.slides)
    twice = [slide for slide, times in slides.items() if times > 1]
    if twice:
        raise CohortInvalid(f"{cohort.name}: slides are listed twice: {some(twice)}")


def _check_labels(cohort: Cohort) -> None:
    both = sorted(set(cohort.classes) & set(cohort.rules))
    if both:
        raise CohortInvalid(f"{cohort.name}: {some(both)} is both a label and a rule")
    unknown = {key for one in cohort.patients for key in one.labels} - set(cohort.classes)
    if unknown:
        raise CohortInvalid(f"{cohort.name}: no classes are given for {some(sorted(unknown))}")
    for label, classes in cohort.classes.items():
        _check_classes(cohort, label, classes)


def _check_strata(cohort: Cohort) -> None:
    strata = sorted({key for one in cohort.patients for key in one.strata})
    taken = [key for key in strata if key in NOT_STRATA or key.startswith(PROBABILITY)]
    if taken:
        raise CohortInvalid(
            f"{cohort.name}: a stratum cannot be called {some(taken)}: predictions have columns of"
            " that name",
            hint=f"Rename the column in the table, to group_{taken[0]} for instance.",
        )


def _check_classes(cohort: Cohort, label: str, classes: tuple[str, ...]) -> None:
    found = {one.labels[label] for one in cohort.patients if label in one.labels}
    strange = sorted(found - set(classes))
    if strange:
        raise CohortInvalid(f"label {label}: {some(strange)} is none of {', '.join(classes)}")
    if not classes:
        raise CohortInvalid(f"label {label}: every cell is empty")
    if len(set(classes)) < max(2, len(classes)):
        raise CohortInvalid(f"label {label} has one class only: {', '.join(classes)}")
    absent = [name for name in classes if name not in found]
    if absent:
        raise CohortInvalid(f"label {label}: no patient is {some(absent)}")
