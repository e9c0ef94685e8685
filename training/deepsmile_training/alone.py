"""Alone: of several runs that would write into one folder, the first one does."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepsmile.errors import RequestInvalid


@contextmanager
def alone(folder: Path, does: str) -> Iterator[None]:
    """Keep other runs out of a folder for as long as the block takes; `does` says what they do.

    Raises:
        RequestInvalid: another run is at it.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "Wait for it, or choose another folder."
            raise RequestInvalid(f"{folder}: another run {does} there", hint=hint) from error
        yield
