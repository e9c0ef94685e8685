"""Labels: what each patient of a fold is, with thresholds that the test has no part in."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.rules import Thresholds
from deepsmile_training.cohorts.splits import PARTS, Fold, Part, development_scores


@dataclass(frozen=True)
class FoldLabels:
    """One label of a fold's patients; those without it, or discarded by a rule, are absent."""

    label: str
    classes: tuple[str, ...]
    fold: Fold
    of: Mapping[str, int]
    """Patient to the index of the class."""
    thresholds: Thresholds | None = None

    def patients(self, part: Part) -> tuple[str, ...]:
        """The labelled patients of one part, sorted."""
        return tuple(name for name in self.fold.part(part) if name in self.of)

    def subset(self, share: str) -> tuple[str, ...]:
        """The labelled patients of a subset of the training. Raises where it lacks a class."""
        if share not in self.fold.subsets:
            raise CohortInvalid(f"the split has no subset {share}: make it with subsets=true")
        patients = self._of_subset(share)
        self.check_classes(patients, f"{share} subset")
        return patients

    @property
    def shares(self) -> tuple[str, ...]:
        """Subsets that have every class and are not all of the training, the smallest first."""
        parts = [share for share in self.fold.subsets if float(share) < 1]
        found = [share for share in parts if not self._absent(self._of_subset(share))]
        return tuple(sorted(found, key=float))

    def trained_on(self, share: str) -> Self:
        """The same with a subset as all of the training. Raises where it lacks a class."""
        return replace(self, fold=self.fold.model_copy(update={"train": self.subset(share)}))

    def count(self, part: Part) -> tuple[int, ...]:
        """Patients of each class in one part."""
        return self.count_of(self.patients(part))

    def count_of(self, patients: Iterable[str]) -> tuple[int, ...]:
        """How many of these labelled patients are of each class."""
        found = Counter(self.of[name] for name in patients)
        return tuple(found[index] for index in range(len(self.classes)))

    def check_classes(self, patients: tuple[str, ...], where: str) -> None:
        """Raises CohortInvalid unless every class is among these labelled patients."""
        if absent := self._absent(patients):
            raise CohortInvalid(
                f"label {self.label}: no {where} patient is {' or '.join(absent)}",
                hint="Use fewer folds, another seed, or balance the split by this label.",
            )

    def _of_subset(self, share: str) -> tuple[str, ...]:
        return tuple(name for name in self.fold.subsets[share] if name in self.of)

    def _absent(self, patients: tuple[str, ...]) -> list[str]:
        """Classes that none of these labelled patients has."""
        counts = zip(self.classes, self.count_of(patients), strict=True)
        return [name for name, count in counts if not count]


def resolve_labels(cohort: Cohort, fold: Fold, label: str) -> FoldLabels:
    """A fold's labels. Raises CohortInvalid where a part lacks a class: no AUC would exist."""
    by_rule = label in cohort.rules
    labels = _by_rule(cohort, fold, label) if by_rule else _known(cohort, fold, label)
    for part in PARTS:
        labels.check_classes(labels.patients(part), part)
    return labels


def _known(cohort: Cohort, fold: Fold, label: str) -> FoldLabels:
    if label not in cohort.classes:
        raise CohortInvalid(f"no label {label}; there are {', '.join(cohort.label_names)}")
    classes = cohort.classes[label]
    found = {
        name: cohort.by_name[name].labels.get(label) for part in PARTS for name in fold.part(part)
    }
    of = {name: classes.index(value) for name, value in found.items() if value is not None}
    return FoldLabels(label, classes, fold, of)


def _by_rule(cohort: Cohort, fold: Fold, label: str) -> FoldLabels:
    rule = cohort.rules[label]
    thresholds = rule.fit(development_scores(cohort, fold, rule.column))
    patients = [cohort.by_name[name] for part in PARTS for name in fold.part(part)]
    scores = {one.name: one.scores[rule.column] for one in patients if rule.column in one.scores}
    decided = {name: thresholds.class_of(score) for name, score in scores.items()}
    of = {name: index for name, index in decided.items() if index is not None}
    return FoldLabels(label, rule.classes, fold, of, thresholds)
