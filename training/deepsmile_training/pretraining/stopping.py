"""Stopping: SIGTERM or SIGINT ends a run after the step it is in, with a checkpoint."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)


@dataclass
class Told:
    """Which signal asked for the end, if one did."""

    number: int = 0

    def is_set(self) -> bool:
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """As a shell has it; a rank that another one tells to stop has heard SIGTERM."""
        return 128 + (self.number or signal.SIGTERM)


@contextmanager
def told_to_stop() -> Iterator[Told]:
    """What the signals set, within the block."""
    told = Told()

    def tell(number: int, _frame: FrameType | None) -> None:
        told.number = number

    former = {number: signal.signal(number, tell) for number in STOPPING}
    try:
        yield told
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
