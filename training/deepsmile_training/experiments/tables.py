"""Tables: a grid's numbers, for people and for programs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepsmile.disk import write_file
from deepsmile_training.experiments.cells import CELLS, Cell, Result
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
    return _patients("train", cells, results)


def warnings_of(grid: Grid, results: Results) -> dict[str, str]:
    """Column -> what to know before its rows are compared: some had no features or tiles.

    Rows are not cut down to the patients that they share: a figure would depend on its neighbours.
    """
    tested: dict[str, dict[tuple[str, ...], float]] = {}
    for (_, column), cells in grid.cells.items():
        patients = tuple(results[cell].tested for cell in cells)
        tested.setdefault(column, {})[patients] = _patients("test", cells, results)
    return {
        column: f"Warning: rows of {column} do not compare. They were tested on different patients"
        f" (n {min(n.values()):g} to {max(n.values()):g}, the mean over folds), because slides"
        " without features or tiles are left out."
        for column, n in tested.items()
        if len(n) > 1
    }


def markdown(grid: Grid, results: Results) -> str:
    """The table as the paper prints it, with test patients where rows differ in them."""
    lines = [f"**{grid.title}**", "", "| | " + " | ".join(grid.columns) + " |"]
    lines.append("|---|" + "--:|" * len(grid.columns))
    warnings = warnings_of(grid, results)
    for row in grid.rows:
        places = [
            _told(grid.cells.get((row, column), ()), results, with_patients=column in warnings)
            for column in grid.columns
        ]
        lines.append(f"| {row} | " + " | ".join(places) + " |")
    for warning in warnings.values():
        lines += ["", warning]
    return "\n".join(lines) + "\n"


def write_table(grid: Grid, results: Results, stem: Path) -> None:
    """`STEM.md` and `STEM.json`, which has every fold, its configuration and its folder."""
    write_file(Path(f"{stem}.md"), markdown(grid, results))
    places: list[dict[str, Any]] = [
        {
            "row": row,
            "column": column,
            "test_patients": _patients("test", cells, results),
            "folds": [_fold(results[cell]) for cell in cells],
        }
        for (row, column), cells in grid.cells.items()
    ]
    warnings = list(warnings_of(grid, results).values())
    content = {"title": grid.title, "warnings": warnings, "places": places}
    write_file(Path(f"{stem}.json"), json.dumps(content, indent=1) + "\n")


def _fold(result: Result) -> dict[str, Any]:
    return {"folder": f"{CELLS}/{result.key}", **result.model_dump(mode="json")}


def _patients(part: str, cells: tuple[Cell, ...], results: Results) -> float:
    """Mean over folds."""
    return float(np.mean([sum(results[cell].patients[part]) for cell in cells]))


def _told(cells: tuple[Cell, ...], results: Results, *, with_patients: bool) -> str:
    if not cells:
        return NONE
    mean, deviation = mean_and_deviation(aucs_of(cells, results))
    patients = f" (n {_patients('test', cells, results):g})" if with_patients else ""
    return f"{100 * mean:.2f} ± {100 * deviation:.2f}{patients}"
