"""Figures: violins, ROC, learning and loss curves, of results that tables have made."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
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
from deepsmile_training.pretraining.config import load_config
from deepsmile_training.pretraining.logbook import read_log
from deepsmile_training.pretraining.pretrain import CONFIG

SUFFIXES = (".svg", ".png")
GRID_POINTS = 101
COLOURS = (
    "#0072b2",  # blue
    "#d55e00",  # vermillion
    "#009e73",  # green
    "#cc79a7",  # purple
    "#e69f00",  # orange
    "#56b4e9",  # sky
    "#000000",
)
"""Okabe and Ito's, which the colour-blind tell apart; their yellow is too light for lines."""
MARKERS = ("", "o", "s", "^")
"""Once all colours are used."""
STYLES = {"VarMIL": "-", "DeepMIL": "--", "tile-supervised": ":"}
"""Of the methods of table 2."""
FEW = 6
"""So many rows of a legend leave room for the curves."""
CHARACTERS_PER_INCH = 19
"""Of a footnote."""
SMOOTHING = 0.05
"""Share of the logged steps in the running mean of a loss."""
Curve = NDArray[np.float64]


def violins(grid: Grid, results: Results) -> Figure:
    """Figure 2: every fold's AUC as a violin and as dots, by label."""
    figure = Figure(figsize=(2 + 3.2 * len(grid.columns), 4.2), layout="constrained")
    axes = figure.subplots(1, len(grid.columns), sharey=True, squeeze=False)[0]
    looks = _looks(grid)
    for ax, column in zip(axes, grid.columns, strict=True):
        rows = [row for row in grid.rows if (row, column) in grid.cells]
        for place, row in enumerate(rows):
            aucs = 100 * np.array(aucs_of(grid.cells[row, column], results))  # (folds,)
            colour = looks[row]["color"]
            if np.ptp(aucs) > 0:
                for body in ax.violinplot([aucs], [place], showextrema=False)["bodies"]:
                    body.set_facecolor(colour)
            ax.plot([place] * len(aucs), aucs, "o", color=colour, markersize=4)
        ax.set(title=column, xticks=range(len(rows)))
        ax.set_xticklabels(rows, rotation=40, ha="right", fontsize=8)
        ax.axhline(50, color="grey", linestyle=":", linewidth=1)
    axes[0].set_ylabel("AUC on the test patients (%)")
    _footnote(figure, f"A dot per fold; the shape is their density. {grid.title}.")
    return figure


def roc_curves(
    grid: Grid, results: Results, label: str, curves: Mapping[str, list[Path]]
) -> Figure:
    """Figures 3, 4 and 5: mean ROC curve of each model over folds, one deviation shaded.

    `curves` has each row's test predictions of two classes, one file per fold.
    """
    few = len(curves) <= FEW
    figure = Figure(figsize=(5.6 if few else 8.6, 5.6), layout="constrained")
    ax = figure.subplots()
    looks = _looks(grid)
    for row, paths in curves.items():
        rises = np.array([_roc(path) for path in paths])  # (folds, GRID_POINTS)
        mean, deviation = mean_and_deviation(aucs_of(grid.cells[row, label], results))
        told = f"{row}: {100 * mean:.1f} ± {100 * deviation:.1f}"
        middle, spread = rises.mean(axis=0), rises.std(axis=0)  # (GRID_POINTS,) each
        (line,) = ax.plot(_fall(), middle, label=told, markevery=10, markersize=4, **looks[row])
        low, high = np.clip([middle - spread, middle + spread], 0, 1)
        ax.fill_between(_fall(), low, high, alpha=0.12, color=line.get_color(), linewidth=0)
    ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    ax.set(title=label, xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    _legend(ax, f"AUC (%), {_spread(grid)}", len(curves))
    _footnote(figure, f"Lines and bands: sensitivity, {_spread(grid)}. {grid.title}.")
    return figure


def learning_curves(grid: Grid, results: Results) -> Figure:
    """Mean AUC and deviation over folds by the mean number of training patients, by label."""
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    ax = figure.subplots()
    ticks: list[int] = []
    for number, column in enumerate(grid.columns):
        rows = [row for row in grid.rows if (row, column) in grid.cells]
        places = [grid.cells[row, column] for row in rows]
        sizes = [trained_on(cells, results) for cells in places]
        aucs = [mean_and_deviation(aucs_of(cells, results)) for cells in places]
        means, deviations = 100 * np.array(aucs).T  # (shares,) each
        look = {**_look(number), "marker": MARKERS[1:][number % 3]}
        ax.errorbar(sizes, means, deviations, markersize=4, capsize=2, label=column, **look)
        ticks = max(ticks, sorted({round(size) for size in sizes}), key=len)
    ax.set_xscale("log")
    mark_sizes(ax, ticks)
    ax.set(xlabel="training patients (mean over folds)", ylabel="AUC on the test patients (%)")
    _legend(ax, _spread(grid), len(grid.columns))
    _footnote(figure, f"Dots and bars: {_spread(grid)}. {grid.title}.")
    return figure


def losses(runs: Mapping[str, Path]) -> Figure:
    """Figures B.6 and B.7: loss by tiles seen of pre-training runs, given by their folders."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    ax = figure.subplots()
    for number, (name, folder) in enumerate(runs.items()):
        loss = _logged_loss(folder)
        batch = load_config(folder / CONFIG, None).batch
        look = _look(number)
        ax.plot(batch * loss.index, loss, color=look["color"], alpha=0.25, linewidth=0.6)
        window = max(1, round(SMOOTHING * len(loss)))
        smooth = loss.rolling(window, center=True, min_periods=1).mean()
        ax.plot(batch * loss.index, smooth, label=f"{name}, batch {batch}", markevery=0.1, **look)
    ax.set(xlabel="tiles seen (steps x batch)", ylabel="loss")
    ax.legend(fontsize=8)
    _footnote(
        figure, f"Line: running mean over {SMOOTHING:.0%} of the logged steps; faint: each of them."
    )
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


def _looks(grid: Grid) -> dict[str, dict[str, Any]]:
    """Row -> how its line looks: the colour tells the extractor, the style the method."""
    extractors = {row: cells[0].extractor for (row, _), cells in grid.cells.items()}
    numbers = {name: number for number, name in enumerate(dict.fromkeys(extractors.values()))}
    return {
        row: {
            **_look(numbers[name]),
            "linestyle": STYLES[row.removeprefix(f"{name}, ")],
        }
        for row, name in extractors.items()
    }


def _look(number: int) -> dict[str, Any]:
    """Of the so many-th of several lines."""
    marker = MARKERS[number // len(COLOURS) % len(MARKERS)]
    return {"color": COLOURS[number % len(COLOURS)], "marker": marker}


def _spread(grid: Grid) -> str:
    """What a number with a deviation is."""
    return f"mean ± s.d. over {len(next(iter(grid.cells.values())))} folds"


def _legend(ax: Axes, title: str, rows: int) -> None:
    """In the plot where it leaves room for the curves, or else beside it."""
    inside, beside = {"loc": "lower right"}, {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    place: dict[str, Any] = inside if rows <= FEW else beside
    ax.legend(title=title, fontsize=8, title_fontsize=8, handlelength=2.6, **place)


def _footnote(figure: Figure, text: str) -> None:
    width = int(CHARACTERS_PER_INCH * figure.get_figwidth())
    figure.supxlabel(fill(text, width), fontsize=7, x=0.01, ha="left", color="dimgrey")


def _logged_loss(folder: Path) -> "pd.Series[float]":
    """Step -> loss."""
    found = {entry["step"]: entry["loss"] for entry in read_log(folder) if "loss" in entry}
    if not found:
        raise RequestInvalid(
            f"{folder}: no pre-training run, or none that took a step",
            hint="Give the folder that `deepsmile-train pretrain --out` was given.",
        )
    return pd.Series(found)


def _fall() -> Curve:
    return np.linspace(0, 1, GRID_POINTS)


def _roc(path: Path) -> Curve:
    """Sensitivity at evenly spaced rates of false positives, (GRID_POINTS,)."""
    table = pd.read_csv(path)
    false, true, _ = roc_curve(table["y"], table["p"], drop_intermediate=False)
    rises: Curve = np.interp(_fall(), false, true)
    rises[0] = 0.0
    return rises
