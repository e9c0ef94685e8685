"""Memory: how much a process grows while something goes on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

MB = 1_000_000


class Growth:
    """Filled when the watch is over."""

    mb = 0.0


@contextmanager
def watched(pid: int) -> Iterator[Growth]:
    """Sample a process' resident memory, every 10 ms."""
    process, growth, over = psutil.Process(pid), Growth(), threading.Event()
    before = peak = process.memory_info().rss

    def sample() -> None:
        nonlocal peak
        while not over.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield growth
    finally:
        over.set()
        thread.join()
        growth.mb = (peak - before) / MB
