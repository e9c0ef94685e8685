"""Counting: a cohort and a split as small tables of text."""

from collections import Counter
from collections.abc import Iterator

from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.labels import FoldLabels, resolve_labels
from deepsmile_training.cohorts.splits import PARTS, Part, Split

COHORT_COLUMNS = ("label", "class", "patients", "slides")
SPLIT_COLUMNS = ("fold", "part", "patients", "slides", "classes", "cuts")


def count_cohort(cohort: Cohort) -> Iterator[tuple[str, ...]]:
    """A row for all, then per label and class; a rule has none before there is a split."""
    slides = sum(len(one.slides) for one in cohort.patients)
    yield "(all)", "", str(len(cohort.patients)), str(slides)
    for label, classes in cohort.classes.items():
        known = [one for one in cohort.patients if label in one.labels]
        patients = Counter(one.labels[label] for one in known)
        for index, name in enumerate(classes):
            its = sum(len(one.slides) for one in known if one.labels[label] == name)
            yield label, f"{index} {name}", str(patients[name]), str(its)
    for label, rule in cohort.rules.items():
        known = [one for one in cohort.patients if rule.column in one.scores]
        its = sum(len(one.slides) for one in known)
        yield label, f"cut from {rule.column}, per fold", str(len(known)), str(its)


def count_split(cohort: Cohort, split: Split, label: str = "") -> Iterator[tuple[str, ...]]:
    """A row per fold and part: who has the label, and of which class; without one, all."""
    for index, fold in enumerate(split.folds):
        labels = resolve_labels(cohort, fold, label) if label else None
        for part in PARTS:
            names = labels.patients(part) if labels else fold.part(part)
            slides = sum(len(cohort.by_name[name].slides) for name in names)
            yield str(index), part, str(len(names)), str(slides), *_told(labels, part)


def _told(labels: FoldLabels | None, part: Part) -> tuple[str, str]:
    if labels is None:
        return "", ""
    counts = zip(labels.classes, labels.count(part), strict=True)
    cuts = labels.thresholds
    told = f"<= {cuts.lower:g}, {'>' if cuts.strict else '>='} {cuts.upper:g}" if cuts else ""
    return ", ".join(f"{count} {name}" for name, count in counts), told
