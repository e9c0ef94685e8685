"""Figures: what their lines look like, and what they say that their numbers are."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepsmile_training.experiments.cells import Cell, HeadCell, Result
from deepsmile_training.experiments.figures import losses, roc_curves, violins
from deepsmile_training.experiments.grids import Grid
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import Recipe
from tests.training.experiments.results import made_up

METHODS = ("tile-supervised", "DeepMIL", "VarMIL")
LINES = {"tile-supervised": ":", "DeepMIL": "--", "VarMIL": "-"}


def trained(extractor: str, method: str, fold: int) -> tuple[HeadCell, Result]:
    """AUC 0.7 and 0.8 in two folds."""
    config = MilConfig(recipe=Recipe(), seed=METHODS.index(method))
    cell = HeadCell(extractor=extractor, label="hrd", fold=fold, config=config)
    return cell, made_up(cell, (0.7, 0.8)[fold])


def table(extractors: int) -> tuple[Grid, dict[Cell, Result]]:
    names = [f"e{i}, with a comma" for i in range(extractors)]
    results: dict[Cell, Result] = {}
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {}
    for method in METHODS:
        for name in names:
            made = dict(trained(name, method, fold) for fold in range(2))
            results |= made
            cells[f"{name}, {method}", "hrd"] = tuple(made)
    rows = tuple(row for row, _ in cells)
    return Grid("Table 2: AUC (%) (recipe mine, seed 3)", rows, ("hrd",), cells), results


@pytest.fixture
def curve(tmp_path: Path) -> Path:
    path = tmp_path / "test.csv"
    pd.DataFrame({"y": [0, 0, 1, 1], "p": [0.1, 0.6, 0.4, 0.9]}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("extractors", [2, 5, 9])
def test_no_two_models_look_alike(curve: Path, extractors: int) -> None:
    """The colour (from the eighth extractor on with a marker) tells it, the style the method."""
    grid, results = table(extractors)
    figure = roc_curves(grid, results, "hrd", {row: [curve, curve] for row in grid.rows})
    lines = figure.axes[0].get_lines()[: len(grid.rows)]
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines]
    assert len(set(looks)) == len(grid.rows)
    for row, (colour, marker, style) in zip(grid.rows, looks, strict=True):
        extractor, _, method = row.rpartition(", ")
        assert style == LINES[method]
        assert (colour, marker) == looks[grid.rows.index(f"{extractor}, VarMIL")][:2]


@pytest.mark.parametrize(("extractors", "is_beside"), [(2, False), (3, True)])
def test_the_legend_leaves_room_for_the_curves(
    curve: Path, extractors: int, is_beside: bool
) -> None:
    grid, results = table(extractors)
    figure = roc_curves(grid, results, "hrd", {row: [curve, curve] for row in grid.rows})
    figure.draw_without_rendering()
    (ax,) = figure.axes
    legend, plot = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert bool(legend.x0 > plot.x1) is is_beside
    assert legend.x1 < figure.bbox.x1


def test_roc_curves_say_what_their_numbers_and_bands_are(curve: Path) -> None:
    """In percent, as the tables have it."""
    grid, results = table(2)
    figure = roc_curves(grid, results, "hrd", {row: [curve, curve] for row in grid.rows})
    legend = figure.axes[0].get_legend()
    assert legend.get_title().get_text() == "AUC (%), mean ± s.d. over 2 folds"
    assert legend.get_texts()[0].get_text() == "e0, with a comma, tile-supervised: 75.0 ± 5.0"
    assert figure.get_supxlabel().replace("\n", " ") == (
        "Lines and bands: sensitivity, mean ± s.d. over 2 folds."
        " Table 2: AUC (%) (recipe mine, seed 3)."
    )


def test_violins_are_in_percent_and_coloured_by_extractor() -> None:
    grid, results = table(2)
    figure = violins(grid, results)
    (ax,) = figure.axes
    dots = ax.get_lines()[: len(grid.rows)]
    np.testing.assert_allclose([line.get_ydata() for line in dots], [[70, 80]] * 6)
    colours = [line.get_color() for line in dots]
    assert colours == colours[:2] * 3
    assert len(set(colours)) == 2
    assert ax.get_ylabel() == "AUC on the test patients (%)"
    assert "recipe mine, seed 3" in figure.get_supxlabel()


def test_losses_are_smoothed_and_by_tiles(tmp_path: Path) -> None:
    """A step of batch 950 is 950 tiles; the mean is over a window of 3 of 60, less at the ends."""
    loss = np.random.default_rng(0).normal(5, 1, 60)
    entries = [{"step": 0, "knn": 0.1}]
    entries += [{"step": 10 * (i + 1), "loss": float(one)} for i, one in enumerate(loss)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    (tmp_path / "config.yaml").write_text(
        "method: simclr\nbackbone: resnet18\nbatch: 950\nepochs: 1\n"
    )
    (ax,) = losses({"wide": tmp_path}).axes
    raw, smooth = ax.get_lines()
    expected = [loss[max(0, i - 1) : i + 2].mean() for i in range(60)]
    np.testing.assert_allclose(smooth.get_ydata(), expected)
    np.testing.assert_array_equal(raw.get_ydata(), loss)
    for line in (raw, smooth):
        np.testing.assert_array_equal(line.get_xdata(), 9500 * np.arange(1, 61))
    assert raw.get_alpha() < 0.5
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["wide, batch 950"]
    assert ax.get_xlabel().startswith("tiles seen")
