"""Cells: one training each, from all that decides it to its figures on validation and test.

A cell's folder is named by the digest of everything that decides it, so that an interrupted table
goes on where it stopped, and two tables share what they have in common.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from deepsmile.digest import digest_of, digest_of_file
from deepsmile.frozen import Frozen
from deepsmile_training.cohorts.cohort import PROBABILITY, Cohort
from deepsmile_training.cohorts.labels import FoldLabels, resolve_labels
from deepsmile_training.cohorts.sealed import Sealed, read_sealed
from deepsmile_training.cohorts.splits import PARTS
from deepsmile_training.encoders.checkpoint import load_checkpoint
from deepsmile_training.encoders.tile_encoder import on_fastest
from deepsmile_training.evidence.noting import note_tests
from deepsmile_training.evidence.subgroups import subgroups_of
from deepsmile_training.experiments.starts import start_path
from deepsmile_training.experiments.tiles import tile_store, tiles_of
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.training import fit, of_patients, patient_auc, predict
from deepsmile_training.prepared.prepared import Packing, Prepared
from deepsmile_training.supervised.recipe import SupervisedRecipe
from deepsmile_training.supervised.training import fit_tiles, predict_tiles
from deepsmile_training.supervised.voting import vote

RESULT = "result.json"
CELLS = "cells"
"""Folder of the cells, beside the tables that are made of them."""
Probabilities = NDArray[np.float64]


class HeadCell(Frozen):
    """A head on an extractor's features (paper sections 4.2.2 and 4.2.3)."""

    kind: Literal["head"] = "head"
    extractor: str
    label: str
    fold: Annotated[int, Field(ge=0)]
    config: MilConfig
    share: str | None = None
    """One of the split's subsets, which alone is trained on; None: all training patients."""


class TileCell(Frozen):
    """The tile-supervised baseline from an encoder of `encoders/` (section 4.2.1)."""

    kind: Literal["tiles"] = "tiles"
    extractor: str
    label: str
    fold: Annotated[int, Field(ge=0)]
    config: SupervisedRecipe
    seed: int = 0


Cell = HeadCell | TileCell


class Result(Sealed):
    """What came of a cell; the predictions lie beside it, by patient."""

    cell: HeadCell | TileCell
    made_from: str
    """Digest of the cohort, the split, and the features or tiles."""
    patients: dict[str, tuple[int, ...]]
    """Part -> patients of each class that had features or tiles."""
    tested: str
    """Digest of the test patients' names: where it differs, figures are of other patients."""
    best_step: int
    validation_auc: float
    test_auc: float

    @property
    def key(self) -> str:
        """Name of the cell's folder."""
        return _key(self.cell, self.made_from)


@dataclass(frozen=True)
class Scored:
    """One part's patients with the probability of each class, (k, C)."""

    patients: tuple[str, ...]
    p: Probabilities


@dataclass(frozen=True)
class _Trained:
    """A training's end, and who had a part in it."""

    patients: tuple[str, ...]
    """Of the training; one with several slides may stand here several times."""
    best_step: int
    validation: Scored
    test: Scored


def key_of(prepared: Prepared, cell: Cell) -> str:
    """Name of a cell's folder."""
    return _key(cell, made_from(prepared, cell))


def made_from(prepared: Prepared, cell: Cell) -> str:
    """Digest of the data that decide a cell."""
    if isinstance(cell, HeadCell):
        data = prepared.feature_set(cell.extractor, cell.fold).digest
    else:
        start = start_path(prepared, cell.extractor, cell.fold)
        data = digest_of([tile_store(prepared).digest, digest_of_file(start)])
    return digest_of([prepared.cohort.digest, prepared.split.digest, data])


def labels_of(prepared: Prepared, cell: Cell) -> FoldLabels:
    """Who is trained on and tested. Raises CohortInvalid where a part lacks a class."""
    labels = resolve_labels(prepared.cohort, prepared.split.folds[cell.fold], cell.label)
    if isinstance(cell, HeadCell) and cell.share:
        return labels.trained_on(cell.share)
    return labels


def run_cell(prepared: Prepared, cell: Cell, cells: Path) -> Result:
    """Train and evaluate; the test part is looked at once, with the weights that were chosen.

    A cell that has been run is read back.

    Raises:
        CohortInvalid: a part lacks a class, features or tiles.
    """
    made = made_from(prepared, cell)
    folder = cells / _key(cell, made)
    labels = labels_of(prepared, cell)
    if (folder / RESULT).exists():
        _note(prepared, folder, labels)  # the cohort's folder may have moved since
        return read_sealed(folder / RESULT, Result)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(cell, HeadCell):
        trained = _run_head(prepared, cell, labels)
    else:
        trained = _run_tiles(prepared, cell, labels)
    validation, test = trained.validation, trained.test
    for part, scored in (("validation", validation), ("test", test)):
        table = _predictions(scored, labels, prepared.cohort, part)
        table.to_csv(folder / f"{part}.csv", index=False)
    _note(prepared, folder, labels)
    parts = {"train": trained.patients, "val": validation.patients, "test": test.patients}
    result = Result(
        cell=cell,
        made_from=made,
        patients={part: labels.count_of(set(names)) for part, names in parts.items()},
        tested=digest_of(list(test.patients)),
        best_step=trained.best_step,
        validation_auc=_auc(validation, labels),
        test_auc=_auc(test, labels),
    )
    result.write(folder / RESULT)
    return result


def _note(prepared: Prepared, folder: Path, labels: FoldLabels) -> None:
    """Keep the test of a cell among those of a fixed test set."""
    if prepared.split.kind == "fixed-test":
        note_tests(folder / "test.csv", prepared.root, labels.label, labels.classes)


def _key(cell: Cell, made: str) -> str:
    return digest_of([cell.model_dump(mode="json"), made])[:16]


def _run_head(prepared: Prepared, cell: HeadCell, labels: FoldLabels) -> _Trained:
    config = cell.config
    packing = Packing(config.recipe.tiles, config.seed, config.by_patient)
    known = prepared.feature_set(cell.extractor, cell.fold)
    training, validation = (
        prepared.labelled(known, labels, part, packing) for part in ("train", "val")
    )
    fitted = fit(
        config.head, training, validation=validation, recipe=config.recipe, seed=config.seed
    )
    assert fitted.best is not None, "there is a validation part"
    test = prepared.labelled(known, labels, "test", packing)
    scored = [
        Scored(*of_patients(predict(fitted.head, part.bags), part.bags.patients))
        for part in (validation, test)
    ]
    return _Trained(training.bags.patients, fitted.best.step, *scored)


def _run_tiles(prepared: Prepared, cell: TileCell, labels: FoldLabels) -> _Trained:
    parts = {
        part: tiles_of(prepared, labels, part, tiles=cell.config.tiles, seed=cell.seed)
        for part in PARTS
    }
    fitted = fit_tiles(
        on_fastest(load_checkpoint(start_path(prepared, cell.extractor, cell.fold))),
        parts["train"],
        validation=parts["val"],
        recipe=cell.config,
        seed=cell.seed,
    )
    scored = []
    for part in (parts["val"], parts["test"]):
        p = predict_tiles(fitted.classifier, part)  # (n, C)
        scored.append(Scored(*vote(p, part.slides, part.patients, cell.config.vote)))
    return _Trained(parts["train"].patients, fitted.best.step, *scored)


def _auc(scored: Scored, labels: FoldLabels) -> float:
    y = np.array([labels.of[name] for name in scored.patients], np.int64)  # (k,)
    return patient_auc(scored.p, y, scored.patients)


def _predictions(scored: Scored, labels: FoldLabels, cohort: Cohort, part: str) -> pd.DataFrame:
    """Patients with class, probabilities, part and subgroups, as `evidence` reads them.

    Of two classes `p` is the second's.
    """
    names = (
        ["p"] if len(labels.classes) == 2 else [f"{PROBABILITY}{name}" for name in labels.classes]
    )
    columns = {
        "patient": scored.patients,
        "y": [labels.of[name] for name in scored.patients],
        **dict(zip(names, scored.p.T[-len(names) :], strict=True)),  # (k,) each
        "part": part,
    }
    groups = subgroups_of([cohort.by_name[name] for name in scored.patients])
    return pd.DataFrame(columns | groups)
