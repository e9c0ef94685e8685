"""Running: many cells side by side, each in a process that has one core."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from deepsmile_training.experiments.cells import Cell, Result, run_cell
from deepsmile_training.prepared.prepared import Prepared


def run_cells(
    prepared: Prepared, cells: Sequence[Cell], out: Path, workers: int, advance: Callable[[], None]
) -> dict[Cell, Result]:
    """Results of all cells; those that were run before are read back.

    The first cell that fails ends the run, as Ctrl-C does: of several workers' cells those that
    began are finished, and all that is done is kept.
    """
    found: dict[Cell, Result] = {}
    unique = list(dict.fromkeys(cells))
    if workers == 1:
        for cell in unique:
            found[cell] = run_cell(prepared, cell, out)
            advance()
        return found
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
    try:
        tasks = {pool.submit(run_cell, prepared, cell, out): cell for cell in unique}
        for task in as_completed(tasks):
            found[tasks[task]] = task.result()
            advance()
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
