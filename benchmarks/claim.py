"""Claim: VarMIL, DeepMIL and tile supervision, where the signal is heterogeneity or a mean.

    python -m benchmarks.claim [--slides 400] [--tuned FOLDS] [--figure docs/images/claim.svg]

Painted slides (benchmarks/claim_slides.py) go through the whole road: served tiles and features by
the demo's encoder, a nested split of five folds, heads by the paper's recipe. Every slide is tested
once; the AUC of all of them has DeLong's interval, and his test compares methods. Slides, features
and heads are kept under --folder, and an interrupted run goes on where it stopped.

`tile-supervised` is a linear layer on the very features of the two heads, every tile with its
slide's label, and their votes (eq. 4) or mean probability: only the aggregation differs. The
paper's own, with all layers of the encoder tuned, is `--tuned`; it takes six minutes a fold.
"""

import argparse
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.claim_figure import draw
from benchmarks.claim_slides import Mosaic, draw_mosaics, make_mosaics
from benchmarks.claim_tiles import EXTRACTOR, tile_supervised
from benchmarks.claim_tuned import add_tiles, tuned_cells
from benchmarks.inputs import reader_for
from benchmarks.slides import FOLDER
from deepsmile.backends.onnx import OnnxEncoder
from deepsmile.contract import FeatureContract
from deepsmile.digest import digest_of
from deepsmile.settings import shipped_repository
from deepsmile_training.cli.progress import stages
from deepsmile_training.cohorts.cohort import Cohort, Patient, make_cohort
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.demo.cohort import CELLULARITY, HETEROGENEITY, LABELS
from deepsmile_training.encoders.encoder_file import find_encoder
from deepsmile_training.evidence.delong import Comparison, auc_with_interval, compare
from deepsmile_training.evidence.predictions import Predictions
from deepsmile_training.experiments.cells import Cell, HeadCell, key_of
from deepsmile_training.experiments.grids import METHODS
from deepsmile_training.experiments.running import run_cells
from deepsmile_training.experiments.tables import mean_and_deviation
from deepsmile_training.metrics import Estimate, auc
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import Recipe
from deepsmile_training.prepared.features import Extractor, extract_features
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from deepsmile_training.stage import Stage

SLIDES, SEED = 400, 2028
TILES, MEANS, TUNED = "tile-supervised", "tile-supervised, means", "tile-supervised, tuned"
SHOWN = (TILES, *METHODS)
STARTS = 3
"""Of every method in every fold; the one that ranks the validation slides best is tested."""
RECIPE = Recipe()
"""The paper's on standardised features (RESOLUTIONS row 23)."""
AUTHORS = Recipe(he=False)
"""The same, started as in the authors' code and not by He (RESOLUTIONS row 9)."""


@dataclass(frozen=True)
class Figures:
    """One method on one label."""

    label: str
    method: str
    pooled: Estimate
    """AUC of all test slides, with DeLong's interval."""
    folds: tuple[float, ...]
    """AUC of each fold's."""
    slides: int


@dataclass(frozen=True)
class Made:
    """What the methods learn from."""

    prepared: Prepared
    slides: Path
    """Folder of the painted slides."""
    graph: Path
    contract: FeatureContract


def prepare(folder: Path, slides: tuple[Mosaic, ...], workers: int, stage: Stage) -> Made:
    """The cohort with its split and its features; one slide is one patient."""
    painted = make_mosaics(slides, folder / "slides", workers, stage("slides", len(slides)))
    graph, contract = find_encoder(shipped_repository(), EXTRACTOR)
    cohort, painter = cohort_of(slides), next(iter(painted.values())).parent
    root = folder / f"prepared-{digest_of([contract.digest, cohort.digest, painter.name])[:12]}"
    root.mkdir(exist_ok=True)
    cohort.write(root / "cohort.json")
    plan = SplitPlan(labels=tuple(label.name for label in LABELS))
    make_split(cohort, plan).write(root / "split.json")
    encoder = OnnxEncoder(graph, workers)
    known = Extractor(EXTRACTOR, contract, encoder, lambda: reader_for(root / "scratch"))
    found = extract_features(cohort, painted, known, root, stage("features", len(painted)))
    assert not found.dropped, found.dropped
    return Made(open_prepared(root), painter, graph, contract)


def cohort_of(slides: tuple[Mosaic, ...]) -> Cohort:
    """One slide is one patient."""
    patients = [
        Patient(
            name=slide.name,
            slides=(slide.name,),
            labels={
                label.name: label.positive if label.of(slide.spec) else label.negative
                for label in LABELS
            },
        )
        for slide in slides
    ]
    classes = {label.name: (label.negative, label.positive) for label in LABELS}
    return make_cohort("claim", patients, classes=classes)


def head_predictions(
    prepared: Prepared, workers: int, stage: Stage, starts: int = STARTS
) -> list[pd.DataFrame]:
    """Of DeepMIL and VarMIL: label, method, fold, patient, y, p; every slide once for each."""
    cells: dict[tuple[str, str, int], list[Cell]] = {}
    for label, method, fold in product(LABELS, METHODS, range(len(prepared.split.folds))):
        for told, recipe in ((method, RECIPE), (f"{method}, authors' start", AUTHORS)):
            cells[label.name, told, fold] = [
                HeadCell(
                    extractor=EXTRACTOR,
                    label=label.name,
                    fold=fold,
                    config=MilConfig(head=METHODS[method], recipe=recipe, seed=seed),
                )
                for seed in range(starts)
            ]
    everyone = list(chain.from_iterable(cells.values()))
    place, advance = prepared.root / "cells", stage("heads", len(everyone))
    results = run_cells(prepared, everyone, place, workers, advance)
    tables = []
    for (_, method, _), made in cells.items():
        best = max(made, key=lambda cell: results[cell].validation_auc)
        tables.append(_read(prepared, best, place, method))
    return tables


def tile_predictions(prepared: Prepared, stage: Stage, starts: int = STARTS) -> list[pd.DataFrame]:
    """The same columns, of tile supervision with both votes."""
    folds, tables = len(prepared.split.folds), []
    advance = stage("tiles", len(LABELS) * folds)
    for label in LABELS:
        for fold in range(folds):
            found = tile_supervised(prepared, label.name, fold, starts)
            for method, rule in ((TILES, "share"), (MEANS, "mean")):
                tables.append(found[rule].assign(label=label.name, method=method, fold=fold))
            advance()
    return tables


def tuned_predictions(made: Made, folds: int, workers: int, stage: Stage) -> list[pd.DataFrame]:
    """The same columns for the first folds, by the encoder tuned tile by tile."""
    add_tiles(made.prepared, made.graph, made.contract, made.slides, stage)
    cells = tuned_cells([label.name for label in LABELS], folds)
    place, advance = made.prepared.root / "cells", stage("tuned", len(cells))
    run_cells(made.prepared, cells, place, workers, advance)
    return [_read(made.prepared, cell, place, TUNED) for cell in cells]


def _read(prepared: Prepared, cell: Cell, cells: Path, method: str) -> pd.DataFrame:
    table = pd.read_csv(cells / key_of(prepared, cell) / "test.csv", dtype={"patient": str})
    return table.assign(label=cell.label, method=method, fold=cell.fold)


def figures_of(table: pd.DataFrame) -> list[Figures]:
    """Of each label and method."""
    found = []
    for (label, method), rows in table.groupby(["label", "method"], sort=False):
        pooled = auc_with_interval(rows["p"].to_numpy(np.float64), rows["y"].to_numpy(np.int64))
        folds = tuple(
            auc(each["p"].to_numpy(np.float64), each["y"].to_numpy(np.int64))
            for _, each in rows.groupby("fold")
        )
        found.append(Figures(str(label), str(method), pooled, folds, len(rows)))
    return found


def compared(table: pd.DataFrame, label: str, method: str, other: str) -> Comparison:
    """DeLong's test on the slides that both methods were tested on."""
    return compare(*(_predictions(table, label, each) for each in (method, other)))


def _predictions(table: pd.DataFrame, label: str, method: str) -> Predictions:
    rows = table[(table["label"] == label) & (table["method"] == method)]
    return Predictions(
        tuple(rows["patient"]), rows["y"].to_numpy(np.int64), rows["p"].to_numpy(np.float64)
    )


def say(table: pd.DataFrame, figures: list[Figures]) -> None:
    """Markdown, as RESULTS.md has it."""
    print("| signal | method | AUC (95% interval) | over folds | slides |\n|---|---|--:|--:|--:|")
    for one in figures:
        mean, deviation = mean_and_deviation(list(one.folds))
        pooled = one.pooled
        print(
            f"| {one.label} | {one.method} | {pooled.value:.3f} ({pooled.low:.3f} to"
            f" {pooled.high:.3f}) | {mean:.3f} ± {deviation:.3f} | {one.slides} |"
        )
    print()
    tuned = [("DeepMIL", TUNED)] if TUNED in {one.method for one in figures} else []
    pairs = [("DeepMIL", TILES), *tuned, ("VarMIL", "DeepMIL"), ("VarMIL", TILES)]
    for label in (HETEROGENEITY, CELLULARITY):
        for method, other in pairs:
            found = compared(table, label.name, method, other)
            gap = found.difference
            print(
                f"{label.name}: {method} - {other} = {gap.value:+.3f} ({gap.low:+.3f} to"
                f" {gap.high:+.3f}), p = {max(found.p_value, 1e-15):.1g}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=SLIDES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tuned", type=int, default=0, metavar="FOLDS", help="of five")
    parser.add_argument("--folder", type=Path, default=FOLDER / "claim")
    parser.add_argument("--figure", type=Path, help="an SVG to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with stages() as stage:
        slides = draw_mosaics(options.slides, SEED)
        made = prepare(options.folder, slides, options.workers, stage)
        tables = tile_predictions(made.prepared, stage)
        tables += head_predictions(made.prepared, options.workers, stage)
        if options.tuned:
            tables += tuned_predictions(made, options.tuned, options.workers, stage)
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(made.prepared.root / "predictions.csv", index=False)
    figures = figures_of(table)
    say(table, figures)
    if options.figure:
        shown = {(one.label, one.method): (one.pooled, one.folds) for one in figures}
        drawn = {key: shown[key] for key in shown if key[1] in SHOWN}
        draw(drawn, len(slides), options.figure)


if __name__ == "__main__":
    main()
