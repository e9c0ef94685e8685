"""Bench: each stage of the road timed alone on one slide, and the whole beside them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from statistics import median

import numpy as np
from numpy.typing import NDArray

from deepsmile.backends import Backend
from deepsmile.bag import Features
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.errors import TooLittleTissue
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.slides.slide import RGB
from deepsmile.tiles import TileBatch

SAMPLE_TILES = 256
"""Tiles kept in memory to time the encoder with."""
BATCHES = (1, 4, 16, 64)
ROUNDS = 5
ENCODER_S = 0.25
"""Of the encoder alone, for each batch size in each round."""
LONG_S = 20.0
"""A slide that has been read and scored for so long is not read again."""

Rates = tuple[float, ...]
"""Tiles per second of the encoder alone, one for each round."""


@dataclass(frozen=True)
class Whole:
    """One run of the whole road."""

    seconds: float
    busy_s: float
    """In which at least one call of the encoder was under way."""
    calls_s: float
    """Of all its calls, added up."""


@dataclass(frozen=True)
class Timings:
    """Medians of rounds, in seconds for one slide."""

    tiles: int
    callers: int
    """Threads that call the encoder; with Triton, requests in flight."""
    reading_s: float
    """Open, overview, decode, filter, over the pipe; no encoder at work."""
    encoding_s: float
    """All tiles, from all callers; no reader at work."""
    aggregating_s: float
    """All heads."""
    whole: Whole
    rates: dict[int, Rates]
    """By batch size."""
    half: Rates
    """With half as many callers; nothing where there is but one."""

    @property
    def stages_s(self) -> dict[str, float]:
        """Each stage alone."""
        return {
            "reading": self.reading_s,
            "encoding": self.encoding_s,
            "aggregating": self.aggregating_s,
        }

    @property
    def bottleneck(self) -> str:
        """The slowest stage."""
        return max(self.stages_s, key=lambda name: self.stages_s[name])

    @property
    def encoder_idle(self) -> float:
        """Share of the whole in which the encoder had nothing to do."""
        return 1 - self.whole.busy_s / self.whole.seconds

    @property
    def crowding(self) -> float:
        """How many times as long calls of the encoder take beside the reader as alone."""
        return self.whole.calls_s / (self.encoding_s * self.callers)


def measure(
    source: SlideSource, bundle: Bundle, backend: Backend, reader: Reader, rounds: int = ROUNDS
) -> Timings:
    """Time a slide: everything in turns, so that a machine's moods meet all of it.

    Raises:
        TooLittleTissue: no tile to time the encoder with.
        DeepSmileError: as `score_slide`.
    """
    callers, began = backend.concurrency, time.perf_counter()
    tiles, sample, _ = _read(source, bundle, reader)  # untimed: what is paid once is in no figure
    sizes = [size for size in BATCHES if size <= len(sample) and size != reader.batch]
    batches = {size: _batches(sample, size) for size in sorted({*sizes, reader.batch})}
    for calls in batches.values():
        _rate(backend, calls, callers)  # untimed, for every thread and every connection
    features = backend.encode(sample[: reader.batch])  # (B, D)
    features = np.resize(features, (tiles, features.shape[1]))  # (N, D)
    _aggregate(features, bundle, backend)
    rates, half, aggregating, reading = [], [], [], []
    whole: list[Whole] = []
    for _ in range(rounds):
        rates.append([_rate(backend, calls, callers) for calls in batches.values()])
        if callers > 1:
            half.append(_rate(backend, batches[reader.batch], callers // 2))
        aggregating.append(_aggregate(features, bundle, backend))
        if not whole or time.perf_counter() - began < LONG_S:
            reading.append(_read(source, bundle, reader)[2])
            whole.append(_whole(source, bundle, backend, reader))
    by_size = dict(zip(batches, zip(*rates, strict=True), strict=True))
    return Timings(
        tiles,
        callers,
        reading_s=median(reading),
        encoding_s=tiles / median(by_size[reader.batch]),
        aggregating_s=median(aggregating),
        whole=sorted(whole, key=lambda run: run.seconds)[len(whole) // 2],
        rates=by_size,
        half=tuple(half),
    )


class _Watched:
    """A backend, and when its encoder was called: (start, end)."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self.calls = backend, list[tuple[float, float]]()
        self.name, self.runtime = backend.name, backend.runtime
        self.concurrency = backend.concurrency

    def encode(self, tiles: RGB) -> Features:
        started = time.perf_counter()
        features = self._backend.encode(tiles)
        self.calls.append((started, time.perf_counter()))
        return features

    def score(
        self, head: Head, features: Features
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._backend.score(head, features)


def _whole(source: SlideSource, bundle: Bundle, backend: Backend, reader: Reader) -> Whole:
    watched, started = _Watched(backend), time.perf_counter()
    score_slide(source, bundle, watched, reader)
    seconds = time.perf_counter() - started
    return Whole(seconds, covered(watched.calls), sum(end - start for start, end in watched.calls))


def covered(spans: list[tuple[float, float]]) -> float:
    """Seconds that lie in at least one of them."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _read(source: SlideSource, bundle: Bundle, reader: Reader) -> tuple[int, RGB, float]:
    """Number of tissue tiles, some of them, seconds."""
    tiles, held = 0, []
    started = time.perf_counter()
    with closing(reader.read(source.path, bundle.contract.features, mpp=source.mpp)) as events:
        for event in events:
            if isinstance(event, TileBatch):
                if tiles < SAMPLE_TILES:
                    held.append(event.pixels)
                tiles += len(event.cells)
    seconds = time.perf_counter() - started
    if not held:
        raise TooLittleTissue("the slide has no tissue tile to time the encoder with")
    return tiles, np.concatenate(held)[:SAMPLE_TILES], seconds


def _batches(sample: RGB, size: int) -> list[RGB]:
    """All of the sample in batches of that size, the last one filled up with its own tiles."""
    starts = range(0, len(sample), size)
    return [np.resize(sample[at : at + size], (size, *sample.shape[1:])) for at in starts]


def _rate(backend: Backend, calls: list[RGB], callers: int) -> float:
    """Tiles per second of the encoder alone, asked by so many callers without a pause."""

    def rate_of(turns: Iterator[RGB]) -> float:
        started, tiles = time.perf_counter(), 0
        while (seconds := time.perf_counter() - started) < ENCODER_S:
            tiles += len(backend.encode(next(turns)))
        return tiles / seconds

    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(rate_of, [cycle(calls) for _ in range(callers)]))


def _aggregate(features: Features, bundle: Bundle, backend: Backend) -> float:
    started = time.perf_counter()
    for head in bundle.contract.heads:
        backend.score(head, features)
    return time.perf_counter() - started
