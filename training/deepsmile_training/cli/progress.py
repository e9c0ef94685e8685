"""Progress: one bar per stage on a terminal, one line per stage elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deepsmile_training.stage import Stage


@contextmanager
def stages() -> Iterator[Stage]:
    """One progress bar per stage, on stderr; one line per stage where that is no terminal."""
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:

        def begin(what: str, total: int) -> Callable[[], None]:
            if not console.is_terminal:
                console.print(f"{datetime.now(UTC):%H:%M:%S} {what}: {total}")
            task = progress.add_task(what, total=total)
            return lambda: progress.advance(task)

        yield begin
