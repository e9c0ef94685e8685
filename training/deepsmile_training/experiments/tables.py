"""Tables: a grid's numbers, for people and for programs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepsmile.disk import write_file
from deepsmile_training.experiments.cells import Cell, Result
from deepsmile_training.experiments.grids import Grid

Results = Mapping[Cell, Result]
NONE = "-"


def mean_and_deviation(aucs: list[float]) -> tuple[float, float]:
    """Over folds; ddof 0, with which alone the published figures come out (RESOLUTIONS)."""
    return float(np.mean(aucs)), float(np.std(aucs, ddof=0))


def aucs_of(cells: tuple[Cell, ...], results: Results) -> list[float]:
    """One per fold."""
    return [results[cell].test_auc for cell in cells]


def trained_on(cells: tuple[Cell, ...], results: Results) -> float:
    """Training patients, the mean over folds."""
    return float(np.mean([sum(results[cell].patients["train"]) for cell in cells]))


def markdown(grid: Grid, results: Results) -> str:
    """The table as the paper prints it."""
    lines = [f"**{grid.title}**", "", "| | " + " | ".join(grid.columns) + " |"]
    lines.append("|---|" + "--:|" * len(grid.columns))
    for row in grid.rows:
        places = [_told(grid.cells.get((row, column), ()), results) for column in grid.columns]
        lines.append(f"| {row} | " + " | ".join(places) + " |")
    return "\n".join(lines) + "\n"


def write_table(grid: Grid, results: Results, stem: Path) -> None:
    """`STEM.md` and `STEM.json`, which has every fold and its configuration."""
    write_file(Path(f"{stem}.md"), markdown(grid, results))
    places: list[dict[str, Any]] = [
        {
            "row": row,
            "column": column,
            "folds": [results[cell].model_dump(mode="json") for cell in cells],
        }
        for (row, column), cells in grid.cells.items()
    ]
    content = {"title": grid.title, "places": places}
    write_file(Path(f"{stem}.json"), json.dumps(content, indent=1) + "\n")


def _told(cells: tuple[Cell, ...], results: Results) -> str:
    if not cells:
        return NONE
    mean, deviation = mean_and_deviation(aucs_of(cells, results))
    return f"{100 * mean:.2f} ± {100 * deviation:.2f}"
