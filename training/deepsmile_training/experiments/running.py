"""Running: many cells side by side, each in a process that has one core."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import FrameType

from deepsmile.errors import RequestInvalid
from deepsmile_training.experiments.cells import Cell, Result, run_cell
from deepsmile_training.prepared.prepared import Prepared
from deepsmile_training.pretraining.stopping import STOPPING


def run_cells(
    prepared: Prepared, cells: Sequence[Cell], out: Path, workers: int, advance: Callable[[], None]
) -> dict[Cell, Result]:
    """Results of all cells; those that were run before are read back.

    The first cell that fails ends the run, and those that began are finished; Ctrl-C, a signal to
    exit, and the end of this process end its workers at once. All that is done is kept.

    Raises:
        RequestInvalid: a worker was killed, and the others ended with it.
    """
    found: dict[Cell, Result] = {}
    unique = list(dict.fromkeys(cells))
    if workers == 1:
        for cell in unique:
            found[cell] = run_cell(prepared, cell, out)
            advance()
        return found
    with _workers(workers) as pool:
        tasks = {pool.submit(run_cell, prepared, cell, out): cell for cell in unique}
        for task in as_completed(tasks):
            found[tasks[task]] = task.result()
            advance()
    return found


@contextmanager
def exit_when_told() -> Iterator[None]:
    """SIGTERM or SIGINT leaves the block at once, by an exit with the code that a shell has for it.

    A cell is too long to be waited for; it is begun anew when the run goes on.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    former = {number: signal.signal(number, leave) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the block, or when the other end of their line closes.

    The system closes it where this process was killed.
    """
    context = multiprocessing.get_context("spawn")
    line, end = context.Pipe(duplex=False)
    with line, end:
        pool = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(line,))
        try:
            yield pool
        except (KeyboardInterrupt, SystemExit):
            end.close()
            raise
        except BrokenProcessPool as error:
            end.close()  # the others ignore the signal that the pool sends them
            raise RequestInvalid(
                "a worker was killed, as happens to large ones where memory ends",
                hint="Run it again with fewer --workers: it goes on with what is done.",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(line: Connection) -> None:
    """Signals, which a terminal sends to the whole group, are for the process that started us."""
    import torch

    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with, args=(line,), daemon=True).start()
    torch.set_num_threads(1)


def _end_with(line: Connection) -> None:
    line.poll(None)  # nothing is ever sent: it is ready when it is closed
    os._exit(1)
