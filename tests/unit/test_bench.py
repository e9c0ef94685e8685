"""Bench: timings that add up, and advice that follows from them."""

from pathlib import Path

import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bench import Timings, advice, measure
from deepsmile.bundle import Bundle
from deepsmile.errors import TooLittleTissue
from deepsmile.pipeline import SlideSource
from deepsmile.reading import Reader
from tests.shell import OK, Run

RATES = {1: 100.0, 4: 150.0, 16: 120.0}


def timings(reading_s: float, encoding_s: float, whole_s: float) -> Timings:
    return Timings(100, reading_s, encoding_s, 0.1, whole_s, RATES)


@pytest.mark.parametrize(
    ("reading_s", "encoding_s", "bottleneck"),
    [(1.0, 2.0, "encoding"), (2.0, 1.0, "reading"), (0.01, 0.02, "aggregating")],
)
def test_the_slowest_stage_is_the_bottleneck(
    reading_s: float, encoding_s: float, bottleneck: str
) -> None:
    assert timings(reading_s, encoding_s, 3.0).bottleneck == bottleneck


def test_the_encoder_idles_while_it_waits() -> None:
    assert timings(2.0, 1.5, 2.0).encoder_idle == pytest.approx(0.25)
    assert timings(1.0, 2.0, 1.9).encoder_idle == 0.0


def test_advice_names_a_better_batch_only_when_it_is_worth_it() -> None:
    slow = timings(1.0, 2.0, 2.1)
    assert "DEEPSMILE_ENCODER_BATCH=4: the encoder alone is 1.50 x as fast" in advice(slow, 1)
    assert not any("BATCH" in line for line in advice(slow, 4))


def test_advice_tells_when_stages_do_not_overlap() -> None:
    assert any("core more" in line for line in advice(timings(1.0, 2.0, 3.0), 4))
    assert not any("core more" in line for line in advice(timings(1.0, 2.0, 2.1), 4))


def test_measuring_times_every_stage(
    slide_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    found = measure(SlideSource(slide_path), bundle, backend, reader)
    assert found.tiles > 0
    assert min(found.reading_s, found.encoding_s, found.aggregating_s, found.whole_s) > 0
    assert found.whole_s < 60


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
