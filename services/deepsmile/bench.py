"""Bench: each stage of the road timed alone on one slide, and the whole beside them."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from deepsmile.backends import Backend
from deepsmile.bag import Features
from deepsmile.bundle import Bundle
from deepsmile.errors import TooLittleTissue
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.slides.slide import RGB
from deepsmile.tiles import TileBatch

SAMPLE_TILES = 256
"""Tiles kept in memory to time the encoder with."""
CALLS = 64
"""Most calls of the encoder per timing; longer slides are scaled up."""
BATCHES = (1, 4, 16, 64)
WORTHWHILE = 1.1
"""A gain below this is noise."""
OVERLAPPED = 1.25
"""The whole takes at most this times its slowest stage when the stages overlap."""


@dataclass(frozen=True)
class Timings:
    """Seconds for one slide."""

    tiles: int
    reading_s: float
    """Open, overview, decode, filter, over the pipe; no encoder at work."""
    encoding_s: float
    """All tiles, on as many threads as the backend takes; no reader at work."""
    aggregating_s: float
    """All heads."""
    whole_s: float
    tiles_per_s: dict[int, float]
    """Of the encoder, by batch size."""

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
        """Share of the whole in which the encoder has nothing to do."""
        return max(0.0, 1 - self.encoding_s / self.whole_s)


def measure(source: SlideSource, bundle: Bundle, backend: Backend, reader: Reader) -> Timings:
    """Time a slide.

    Raises:
        TooLittleTissue: no tile to time the encoder with.
        DeepSmileError: as `score_slide`.
    """
    _warm_up(source, bundle, backend, reader)
    tiles, sample, reading_s = _read(source, bundle, reader)
    dim = bundle.contract.features.encoder.feature_dim
    features = np.resize(backend.encode(sample[:4]), (tiles, dim))  # (N, D)
    rates = {batch: _rate(backend, sample, batch) for batch in BATCHES if batch <= len(sample)}
    encoding_s = tiles / (rates.get(reader.batch) or _rate(backend, sample, reader.batch))
    aggregating_s = _aggregate(features, bundle, backend)
    started = time.perf_counter()
    score_slide(source, bundle, backend, reader)
    whole_s = time.perf_counter() - started
    return Timings(tiles, reading_s, encoding_s, aggregating_s, whole_s, rates)


def advice(timings: Timings, batch: int) -> Iterator[str]:
    """What would make it faster, the most telling first."""
    if timings.bottleneck == "encoding":
        yield "a GPU, an int8 bundle (`deepsmile-train precision`), or more cores for the encoder"
    elif timings.bottleneck == "reading":
        yield "slides on a local disk; more workers, each of which reads a slide of its own"
    else:
        yield "fewer tiles (a budget in the contract), or heads with fewer members"
    best = max(timings.tiles_per_s, key=lambda size: timings.tiles_per_s[size])
    now = timings.tiles_per_s.get(batch)
    if now and timings.tiles_per_s[best] > WORTHWHILE * now:
        gain = timings.tiles_per_s[best] / now
        yield f"DEEPSMILE_ENCODER_BATCH={best}: the encoder alone is {gain:.2f} x as fast"
    if timings.whole_s > OVERLAPPED * max(timings.stages_s.values()):
        yield "the stages get in each other's way: a core more, or one encoder thread less"


def _warm_up(source: SlideSource, bundle: Bundle, backend: Backend, reader: Reader) -> None:
    """What is paid once per process is no part of a slide's time."""
    size = bundle.contract.features.tile.size_px
    backend.encode(np.zeros((1, size, size, 3), np.uint8))
    for _ in reader.read(source.path, bundle.contract.features, mpp=source.mpp, tiles=False):
        pass


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


def _rate(backend: Backend, sample: RGB, batch: int) -> float:
    """Tiles per second of the encoder alone."""
    starts = range(0, len(sample), batch)[:CALLS]
    calls = [np.resize(sample[i : i + batch], (batch, *sample.shape[1:])) for i in starts]
    with ThreadPoolExecutor(backend.concurrency) as pool:
        started = time.perf_counter()
        for _ in pool.map(backend.encode, calls):
            pass
        return len(calls) * batch / (time.perf_counter() - started)


def _aggregate(features: Features, bundle: Bundle, backend: Backend) -> float:
    started = time.perf_counter()
    for head in bundle.contract.heads:
        backend.score(head, features)
    return time.perf_counter() - started
