"""Stages: how long each part of the road takes, and who is told how far it is."""

import time
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total) as work goes on; total 0: not known. Stop the work by raising."""


def no_progress(stage: str, done: int, total: int) -> None:
    """For callers who do not look."""


class Repeated:
    """Passes progress on, and says the last of it again for whoever only waits."""

    def __init__(self, progress: Progress, stage: str) -> None:
        self._progress, self._last = progress, (stage, 0, 0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._last = (stage, done, total)
        self._progress(*self._last)

    def again(self) -> None:
        self._progress(*self._last)


class Stages:
    """Times each stage and passes progress on."""

    def __init__(self, progress: Progress, timings_s: dict[str, float]) -> None:
        self._progress, self._timings_s = progress, timings_s
        self._name, self._done, self._total, self._since = "", 0, 0, time.perf_counter()

    def enter(self, name: str, total: int) -> None:
        now = time.perf_counter()
        if self._name:
            self._timings_s[self._name] = now - self._since
        self._name, self._since = name, now
        self.at(0, total)

    def at(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        self._progress(self._name, done, total)

    def expect(self, total: int) -> None:
        self.at(self._done, total)

    def advance(self, count: int) -> None:
        self.at(self._done + count, self._total)
