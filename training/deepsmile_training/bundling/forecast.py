"""Forecast: who would be trained on and tested, and about how long it would take."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deepsmile_training.bundling.bundle import Material
from deepsmile_training.bundling.development import Development
from deepsmile_training.bundling.learning import trainings_of_curve
from deepsmile_training.bundling.members import trainings_needed
from deepsmile_training.bundling.source import Source
from deepsmile_training.cohorts.labels import FoldLabels, resolve_labels
from deepsmile_training.cohorts.splits import Part
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import Recipe
from deepsmile_training.mil.training import fit

COLUMNS = ("label", "part", "patients", "slides", "classes")
OF_A_CLASS = 8
"""Patients of either class that the trial trains on."""
STEP = 3
"""A bag in a training step costs about as much as in so many evaluations."""


@dataclass(frozen=True)
class Forecast:
    """Rows of `COLUMNS`, and what the trainings take."""

    rows: tuple[tuple[str, ...], ...]
    trainings: int
    seconds: float


def forecast(material: Material, config: MilConfig) -> Forecast:
    """Count patients and classes, train a little, and tell; no test slide is read."""
    source, labels = material.source, material.labels
    rows = tuple(row for one in labels for row in _rows(source, one))
    trainings = sum(_trainings(one) for one in labels)
    visits = sum(_all_visits(source, one, config.recipe) for one in labels)
    return Forecast(rows, trainings, visits * _seconds_per_visit(source, labels[0], config))


def _trainings(development: Development) -> int:
    """All of a label, those of its learning curve too."""
    return trainings_needed(len(development.split)) + len(trainings_of_curve(development))


def _rows(source: Source, development: Development) -> Iterator[tuple[str, ...]]:
    for k, patients in enumerate(development.folds):
        yield _row(source, development, f"fold {k}", patients, development.of)
    prepared = source.prepared
    labels = resolve_labels(prepared.cohort, prepared.split.folds[0], development.label)
    yield _row(source, development, "test", labels.patients("test"), labels.of)


def _row(
    source: Source,
    development: Development,
    part: str,
    patients: Sequence[str],
    of: Mapping[str, int],
) -> tuple[str, ...]:
    there = [name for name in patients if source.slides(name)]
    counts = (
        f"{sum(of[name] == index for name in there)} {told}"
        for index, told in enumerate(development.classes)
    )
    slides = sum(len(source.slides(name)) for name in there)
    return development.label, part, str(len(there)), str(slides), ", ".join(counts)


def _all_visits(source: Source, development: Development, recipe: Recipe) -> float:
    """Evaluations of a bag that all trainings of a label are worth."""
    folds = range(len(development.split))
    trainings = [development.served(k) for k in folds]
    trainings += [development.inner(k, j) for k in folds for j in folds if k != j]
    trainings += trainings_of_curve(development)
    return sum(_visits(source, one, recipe) for one in trainings)


def _visits(source: Source, labels: FoldLabels, recipe: Recipe) -> float:
    training, validation = (
        sum(len(source.slides(name)) for name in labels.patients(part)) for part in ("train", "val")
    )
    steps = recipe.epochs * max(training / recipe.batch, 1)
    every = recipe.evaluate_every
    every = every if every >= 1 else max(1, every * training / recipe.batch)
    return STEP * recipe.epochs * training + steps / every * validation


def _seconds_per_visit(source: Source, development: Development, config: MilConfig) -> float:
    """Of two short trainings the second: the first one warms up."""
    whole = development.served(0)
    some = {name for part in ("train", "val") for name in _few(whole, part)}
    labels = replace(whole, of={name: whole.of[name] for name in some})
    training, validation = (source.labelled(labels, part, config) for part in ("train", "val"))
    recipe = config.recipe.model_copy(update={"epochs": 1})
    took = 0.0
    for _ in range(2):
        start = time.perf_counter()
        fit(config.head, training, validation=validation, recipe=recipe, seed=config.seed)
        took = time.perf_counter() - start
    return took / _visits(source, labels, recipe)


def _few(labels: FoldLabels, part: Part) -> list[str]:
    patients = labels.patients(part)
    return [
        name
        for index in range(len(labels.classes))
        for name in [one for one in patients if labels.of[one] == index][:OF_A_CLASS]
    ]
