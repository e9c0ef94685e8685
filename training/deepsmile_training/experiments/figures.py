"""Figures: violins, ROC, learning and loss curves, of results that tables have made."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.plots import mark_sizes
from deepsmile_training.experiments.grids import Grid
from deepsmile_training.experiments.tables import (
    Results,
    aucs_of,
    mean_and_deviation,
    trained_on,
)
from deepsmile_training.pretraining.logbook import read_log

SUFFIXES = (".svg", ".png")
GRID_POINTS = 101
Curve = NDArray[np.float64]


def violins(grid: Grid, results: Results) -> Figure:
    """Figure 2: every fold's AUC as a violin and as dots, by label."""
    figure = Figure(figsize=(2 + 3.2 * len(grid.columns), 4.2), layout="constrained")
    axes = figure.subplots(1, len(grid.columns), sharey=True, squeeze=False)[0]
    for ax, column in zip(axes, grid.columns, strict=True):
        rows = [row for row in grid.rows if (row, column) in grid.cells]
        for place, row in enumerate(rows):
            aucs = aucs_of(grid.cells[row, column], results)
            colour = f"C{grid.rows.index(row)}"
            if np.ptp(aucs) > 0:
                for body in ax.violinplot([aucs], [place], showextrema=False)["bodies"]:
                    body.set_facecolor(colour)
            ax.plot([place] * len(aucs), aucs, "o", color=colour, markersize=4)
        ax.set(title=column, xticks=range(len(rows)))
        ax.set_xticklabels(rows, rotation=40, ha="right", fontsize=8)
        ax.axhline(0.5, color="grey", linestyle=":", linewidth=1)
    axes[0].set_ylabel("AUC on the test patients")
    return figure


def roc_curves(
    grid: Grid, results: Results, label: str, curves: Mapping[str, list[Path]]
) -> Figure:
    """Figures 3, 4 and 5: mean ROC curve of each model over folds, one deviation shaded.

    `curves` has each row's test predictions of two classes, one file per fold.
    """
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    ax = figure.subplots()
    for row, paths in curves.items():
        rises = np.array([_roc(path) for path in paths])  # (folds, GRID_POINTS)
        mean, deviation = mean_and_deviation(aucs_of(grid.cells[row, label], results))
        told = f"{row}: {mean:.3f} ± {deviation:.3f}"
        middle, spread = rises.mean(axis=0), rises.std(axis=0)  # (GRID_POINTS,) each
        (line,) = ax.plot(_fall(), middle, label=told)
        low, high = np.clip([middle - spread, middle + spread], 0, 1)
        ax.fill_between(_fall(), low, high, alpha=0.12, color=line.get_color(), linewidth=0)
    ax.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    ax.set(title=label, xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    ax.legend(loc="lower right", fontsize=8)
    return figure


def learning_curves(grid: Grid, results: Results) -> Figure:
    """Mean AUC and deviation over folds by the mean number of training patients, by label."""
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    ax = figure.subplots()
    ticks: list[int] = []
    for column in grid.columns:
        rows = [row for row in grid.rows if (row, column) in grid.cells]
        places = [grid.cells[row, column] for row in rows]
        sizes = [trained_on(cells, results) for cells in places]
        aucs = [mean_and_deviation(aucs_of(cells, results)) for cells in places]
        means, deviations = zip(*aucs, strict=True)
        ax.errorbar(sizes, means, deviations, marker="o", markersize=4, capsize=2, label=column)
        ticks = max(ticks, sorted({round(size) for size in sizes}), key=len)
    ax.set_xscale("log")
    mark_sizes(ax, ticks)
    ax.set(xlabel="training patients (mean over folds)", ylabel="AUC on the test patients")
    ax.legend(loc="lower right", fontsize=8)
    return figure


def losses(runs: Mapping[str, Path]) -> Figure:
    """Figures B.6 and B.7: loss by step of pre-training runs, given by their folders."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    ax = figure.subplots()
    for name, folder in runs.items():
        entries = [entry for entry in read_log(folder) if "loss" in entry]
        if not entries:
            raise RequestInvalid(
                f"{folder}: no pre-training run, or none that took a step",
                hint="Give the folder that `deepsmile-train pretrain --out` was given.",
            )
        ax.plot([e["step"] for e in entries], [e["loss"] for e in entries], label=name)
    ax.set(xlabel="step", ylabel="loss")
    ax.legend(fontsize=8)
    return figure


def write_figure(figure: Figure, stem: Path) -> list[Path]:
    """As SVG and PNG; equal figures give equal files."""
    paths = [Path(f"{stem}{suffix}") for suffix in SUFFIXES]
    stem.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": stem.name, "svg.fonttype": "none"}):
        for path in paths:
            told = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            figure.savefig(path, dpi=150, metadata=told)
    return paths


def _fall() -> Curve:
    return np.linspace(0, 1, GRID_POINTS)


def _roc(path: Path) -> Curve:
    """Sensitivity at evenly spaced rates of false positives, (GRID_POINTS,)."""
    table = pd.read_csv(path)
    false, true, _ = roc_curve(table["y"], table["p"], drop_intermediate=False)
    rises: Curve = np.interp(_fall(), false, true)
    rises[0] = 0.0
    return rises
