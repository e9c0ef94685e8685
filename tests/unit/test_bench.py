"""Bench: timings that add up, and the slow stage is named whichever it is."""

import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bag import Features
from deepsmile.bench import Timings, Whole, covered, measure
from deepsmile.bundle import Bundle
from deepsmile.contract import FeatureContract, Head
from deepsmile.errors import TooLittleTissue
from deepsmile.pipeline import SlideSource
from deepsmile.reading import Reader, ReadEvent
from deepsmile.slides.slide import RGB
from tests.fake_backend import FakeBackend, Logits, mean_and_square
from tests.shell import OK, Run

SLOW_S = 0.6
"""More than all else takes of the slide's eight tiles."""


class SlowReader(Reader):
    """Waits before the first event."""

    def read(
        self,
        path: Path,
        contract: FeatureContract,
        *,
        mpp: float | None = None,
        overview: bool = False,
        tiles: bool = True,
    ) -> Generator[ReadEvent]:
        time.sleep(SLOW_S)
        yield from super().read(path, contract, mpp=mpp, overview=overview, tiles=tiles)


class SlowHead(FakeBackend):
    def score(self, head: Head, features: Features) -> tuple[Logits, np.ndarray]:
        time.sleep(SLOW_S)
        return super().score(head, features)


def slow_encoder(tiles: RGB) -> Features:
    time.sleep(SLOW_S * len(tiles) / 8)
    return mean_and_square(tiles)


@pytest.fixture
def slow_reader(reader: Reader) -> Iterator[Reader]:
    made = SlowReader(reader.limits, reader.batch)
    yield made
    made.close()


def timings(reading_s: float, encoding_s: float, whole: Whole) -> Timings:
    return Timings(
        tiles=100,
        callers=2,
        reading_s=reading_s,
        encoding_s=encoding_s,
        aggregating_s=0.1,
        whole=whole,
        rates={4: (100 / encoding_s,)},
        half=(),
    )


@pytest.mark.parametrize(
    ("reading_s", "encoding_s", "bottleneck"),
    [(1.0, 2.0, "encoding"), (2.0, 1.0, "reading"), (0.01, 0.02, "aggregating")],
)
def test_the_slowest_stage_is_the_bottleneck(
    reading_s: float, encoding_s: float, bottleneck: str
) -> None:
    assert timings(reading_s, encoding_s, Whole(3.0, 2.0, 4.0)).bottleneck == bottleneck


def test_time_under_way_is_counted_once() -> None:
    assert covered([(3, 4), (0, 2), (1, 2.5), (1.2, 1.4), (4, 5)]) == 4.5
    assert covered([]) == 0


def test_the_encoder_idles_when_none_of_its_calls_is_under_way() -> None:
    """In the run that it is a share of; calls that take longer than alone are crowded, not idle."""
    crowded = timings(1.0, 2.0, Whole(seconds=3.0, busy_s=3.0, calls_s=6.0))
    assert (crowded.encoder_idle, crowded.crowding) == (0.0, 1.5)
    waiting = timings(2.0, 1.5, Whole(seconds=2.0, busy_s=1.5, calls_s=3.0))
    assert (waiting.encoder_idle, waiting.crowding) == (0.25, 1.0)


@pytest.mark.slow
def test_a_slow_encoder_is_found(slide_path: Path, bundle: Bundle, reader: Reader) -> None:
    """Its time is that of its sleep; in the whole it idles only while the first tiles are read."""
    slow = FakeBackend(encoder=slow_encoder)
    found = measure(SlideSource(slide_path), bundle, slow, reader, rounds=1)
    assert found.bottleneck == "encoding"
    assert SLOW_S <= found.encoding_s < 1.5 * SLOW_S
    assert SLOW_S <= found.whole.busy_s < found.whole.seconds
    assert found.whole.calls_s == pytest.approx(found.whole.busy_s)  # one caller
    assert sorted(found.rates) == [1, 4]
    assert all(len(rates) == 1 and max(rates) <= 8 / SLOW_S for rates in found.rates.values())
    assert found.half == ()


@pytest.mark.slow
def test_a_slow_reader_is_found(
    slide_path: Path, bundle: Bundle, backend: OnnxBackend, slow_reader: Reader
) -> None:
    found = measure(SlideSource(slide_path), bundle, backend, slow_reader, rounds=1)
    assert found.bottleneck == "reading"
    assert found.encoder_idle > SLOW_S / found.whole.seconds
    assert found.tiles == 8


@pytest.mark.slow
def test_a_slow_head_is_found(slide_path: Path, bundle: Bundle, reader: Reader) -> None:
    found = measure(SlideSource(slide_path), bundle, SlowHead(), reader, rounds=1)
    assert found.bottleneck == "aggregating"
    assert found.aggregating_s >= SLOW_S
    assert found.encoder_idle > SLOW_S / found.whole.seconds


@pytest.mark.slow
def test_nothing_is_timed_when_it_is_called_first(
    slide_path: Path, bundle: Bundle, reader: Reader
) -> None:
    """A second goes by at the first call with each number of tiles."""
    known: set[int] = set()

    def cold(tiles: RGB) -> Features:
        if len(tiles) not in known:
            known.add(len(tiles))
            time.sleep(1.0)
        return mean_and_square(tiles)

    found = measure(SlideSource(slide_path), bundle, FakeBackend(cold), reader, rounds=1)
    assert min(min(rates) for rates in found.rates.values()) > 8


@pytest.mark.slow
def test_half_of_the_callers_are_timed_as_well(
    slide_path: Path, bundle: Bundle, reader: Reader
) -> None:
    """Sleepers are in nobody's way: half as many encode half as much."""
    slow = FakeBackend(encoder=slow_encoder, concurrency=4)
    found = measure(SlideSource(slide_path), bundle, slow, reader, rounds=1)
    assert len(found.half) == 1
    for whole, half in zip(found.rates[4], found.half, strict=True):
        assert half == pytest.approx(whole / 2, rel=0.3)


def test_a_slide_without_tissue_cannot_be_timed(
    empty_slide: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    with pytest.raises(TooLittleTissue):
        measure(SlideSource(empty_slide), bundle, backend, reader)


@pytest.mark.slow
def test_the_command_names_bottleneck_and_remedy(run: Run, slide_path: Path) -> None:
    code, out, _ = run("bench", slide_path)
    assert code == OK
    for text in ("reading alone", "encoding alone", "the whole", "bottleneck:", "faster with:"):
        assert text in out
