"""Running: many cells side by side, each in a process that has one core."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from deepsmile_training.experiments.cells import Cell, Result, run_cell
from deepsmile_training.prepared.prepared import open_prepared


def run_cells(
    root: Path, cells: Sequence[Cell], out: Path, workers: int, advance: Callable[[], None]
) -> dict[Cell, Result]:
    """Results of all cells; those that were run before are read back.

    The first cell that fails ends the run; what is done is kept.
    """
    found: dict[Cell, Result] = {}
    unique = list(dict.fromkeys(cells))
    if workers == 1:
        for cell in unique:
            found[cell] = _run(root, cell, out)
            advance()
        return found
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        tasks = {pool.submit(_run, root, cell, out): cell for cell in unique}
        for task in as_completed(tasks):
            found[tasks[task]] = task.result()
            advance()
    return found


def _run(root: Path, cell: Cell, out: Path) -> Result:
    return run_cell(open_prepared(root), cell, out)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
