"""Stopping: SIGTERM ends a run after the step it is in, with a checkpoint."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType


@contextmanager
def told_to_stop() -> Iterator[Event]:
    """An event that SIGTERM sets, within the block."""
    told = Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        told.set()

    former = signal.signal(signal.SIGTERM, tell)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, former)
