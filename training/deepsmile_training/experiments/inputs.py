"""Inputs: what cells are trained and tested on, all looked at before the first training."""

from collections.abc import Iterable, Sequence
from functools import cache

from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid, some
from deepsmile_training.cohorts.splits import PARTS
from deepsmile_training.experiments.cells import Cell, labels_of
from deepsmile_training.experiments.starts import start_path
from deepsmile_training.experiments.tiles import tile_store
from deepsmile_training.prepared.features import stored_slides
from deepsmile_training.prepared.prepared import Prepared


def check_labels(prepared: Prepared, labels: Sequence[str]) -> None:
    """That each label has every class in every part of every fold.

    Raises:
        CohortInvalid: one has not; the hint names those that have.
    """
    if not labels:
        raise CohortInvalid(
            f"cohort {prepared.cohort.name} has no label",
            hint="Make it again with --label COLUMN=CLASS,CLASS.",
        )
    faults = {label: fault for label in labels if (fault := _fault(prepared, label))}
    if not faults:
        return
    first = next(iter(faults.values()))
    good = " ".join(f"--label {label}" for label in labels if label not in faults)
    also = f" Or go on without it: {good}." if good else ""
    raise CohortInvalid(first.detail, hint=first.hint + also) from first


def check_inputs(prepared: Prepared, cells: Iterable[Cell]) -> None:
    """That each cell has its features, or tiles and encoder, of every class in every part.

    Raises:
        CohortInvalid, RequestInvalid: one has not.
    """

    @cache
    def slides_of(kind: str, extractor: str, fold: int) -> frozenset[str]:
        if kind == "head":
            return frozenset(prepared.feature_set(extractor, fold).slides)
        start_path(prepared, extractor, fold)
        return frozenset(stored_slides(prepared.cohort, tile_store(prepared)))

    for cell in cells:
        _check_classes(prepared, cell, slides_of(cell.kind, cell.extractor, cell.fold))


def _fault(prepared: Prepared, label: str) -> CohortInvalid | None:
    try:
        for fold in prepared.split.folds:
            resolve_labels(prepared.cohort, fold, label)
    except CohortInvalid as fault:
        return fault
    return None


def _check_classes(prepared: Prepared, cell: Cell, slides: frozenset[str]) -> None:
    labels, by_name = labels_of(prepared, cell), prepared.cohort.by_name
    for part in PARTS:
        patients = [
            name for name in labels.patients(part) if not slides.isdisjoint(by_name[name].slides)
        ]
        counts = zip(labels.classes, labels.count_of(patients), strict=True)
        absent = [name for name, count in counts if not count]
        if absent:
            made, command = _made(cell)
            raise CohortInvalid(
                f"label {cell.label}, fold {cell.fold}: no {part} slide with {made} is"
                f" {some(absent)}",
                hint=f"Make those that are missing with `deepsmile-train {command}`, or go on"
                " without that label, naming the others with --label.",
            )


def _made(cell: Cell) -> tuple[str, str]:
    """What of its slides a cell needs, and the command that makes it."""
    if cell.kind == "head":
        return f"features by {cell.extractor}", "features"
    return "tiles", "tiles"
