"""The road as it is followed and stopped: progress, cancellation, failure."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.errors import JobCanceled, SlideUnsupported
from deepsmile.pipeline import SlideSource, extract, score_slide
from deepsmile.reading import Reader
from tests.fake_backend import FakeBackend
from tests.making import tissue_image, write_svs
from tests.readers import SMALL_TILES
from tests.reports import changed

STAGES = ("qc", "tiling", "encoding", "aggregating")
Told = list[tuple[str, int, int]]


def test_progress_goes_through_the_stages_and_only_forward(
    slide_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    told: list[tuple[str, int, int]] = []
    report = score_slide(
        SlideSource(slide_path), bundle, backend, reader, progress=lambda *step: told.append(step)
    )
    order = [STAGES.index(stage) for stage, _, _ in told]
    assert order == sorted(order)
    assert set(order) == set(range(len(STAGES)))
    for stage in STAGES:
        done = [step[1] for step in told if step[0] == stage]
        assert done == sorted(done)
        assert done[0] == 0
    assert max(step[1] for step in told if step[0] == "encoding") == report.tiles.used
    assert ("tiling", 12, 12) in told


@pytest.mark.parametrize("stage", STAGES[:3])
def test_raising_from_progress_stops_the_reader_at_once(
    slide_path: Path, bundle: Bundle, reader: Reader, stage: str
) -> None:
    """A canceled job: no process and no file stay behind, and the reader takes the next slide."""

    def cancel(now: str, done: int, total: int) -> None:
        if now == stage and (done or stage == "qc"):
            raise JobCanceled("somebody asked for it")

    began = time.monotonic()
    with pytest.raises(JobCanceled):
        score_slide(SlideSource(slide_path), bundle, FakeBackend(), reader, progress=cancel)
    assert time.monotonic() - began < 2
    if reader.host_pid:
        assert psutil.Process(reader.host_pid).children(recursive=True) == []
    assert list(reader.limits.scratch.rglob("*")) == []
    assert score_slide(SlideSource(slide_path), bundle, FakeBackend(), reader)


def test_an_encoder_that_fails_stops_the_reader_and_is_heard(
    slide_path: Path, bundle: Bundle, reader: Reader
) -> None:
    def fail(tiles: Any) -> Any:
        raise MemoryError("no room for features")

    with pytest.raises(MemoryError, match="no room"):
        extract(SlideSource(slide_path), bundle.contract.features, FakeBackend(fail), reader)
    assert reader.host_pid is not None
    assert psutil.Process(reader.host_pid).children(recursive=True) == []


def encoding_of(path: Path, bundle: Bundle, reader: Reader) -> list[tuple[int, int]]:
    """What is told of the encoding, (done, total), with many small tiles."""
    told: Told = []
    extract(
        SlideSource(path),
        bundle.contract.features,
        FakeBackend(),
        reader,
        progress=lambda *step: told.append(step),
    )
    return [(done, total) for stage, done, total in told if stage == "encoding"]


@pytest.mark.parametrize("most", [None, 1, 50, 100_000])
def test_encoding_begins_at_nothing_and_ends_at_all_of_it(
    slide_path: Path, tmp_path: Path, bundle: Bundle, reader: Reader, most: int | None
) -> None:
    """Candidates that turn out to be glass, and tiles beyond a budget, are never encoded.

    Here every tile of the slide is a candidate, and the last ones are glass.
    """
    features = SMALL_TILES.model_dump(mode="json", include={"tile", "pixels", "tissue"})
    features["tissue"]["overview_max_background"] = 1.0
    features["budget"] = {"max_tiles": most, "seed": 0}
    found = encoding_of(slide_path, changed(bundle, tmp_path, features=features), reader)
    assert found[0][0] == 0
    assert found[0][1] == min(most or 192, 192)
    assert found[-1][0] == found[-1][1] > 0
    assert all(done <= total for done, total in found)
    totals = [total for _, total in found]
    assert totals == sorted(totals, reverse=True)
    assert most in (1, 50) or len(set(totals)) > 10, "it shrinks on the way"


def enlarged(path: Path) -> Path:
    """64 GiB longer: a minute of hashing, and no byte more on the disk."""
    os.truncate(path, path.stat().st_size + (64 << 30))
    return path


@pytest.mark.parametrize("stage", [*STAGES, "aggregating again"])
def test_a_canceled_job_does_not_wait_for_the_hash_of_its_slide(
    slide_path: Path, tmp_path: Path, bundle: Bundle, reader: Reader, stage: str
) -> None:
    path = enlarged(Path(shutil.copy(slide_path, tmp_path / "slide.svs")))
    told: list[str] = []

    def cancel(now: str, done: int, total: int) -> None:
        told.append(f"{now} again" if now in told else now)
        if stage in told:
            raise JobCanceled("somebody asked for it")

    began = time.monotonic()
    with pytest.raises(JobCanceled):
        score_slide(SlideSource(path), bundle, FakeBackend(), reader, progress=cancel)
    assert time.monotonic() - began < 5


def test_a_file_that_is_no_slide_is_refused_before_it_is_hashed(
    tmp_path: Path, bundle: Bundle, reader: Reader
) -> None:
    (tmp_path / "slide").write_bytes(b"no slide")
    began = time.monotonic()
    with pytest.raises(SlideUnsupported):
        score_slide(SlideSource(enlarged(tmp_path / "slide")), bundle, FakeBackend(), reader)
    assert time.monotonic() - began < 5


def test_a_slide_that_is_declined_early_can_be_canceled_while_it_is_hashed(
    tmp_path: Path, bundle: Bundle, reader: Reader
) -> None:
    """The report of an abstention has the digest, so it waits; whoever cancels does not."""
    path = enlarged(write_svs(tmp_path / "slide.svs", tissue_image(600, 600), mpp=""))
    told: Told = []

    def cancel(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))
        if told.count(("aggregating", 0, 0)) == 2:
            raise JobCanceled("somebody asked for it")

    began = time.monotonic()
    with pytest.raises(JobCanceled):
        score_slide(SlideSource(path), bundle, FakeBackend(), reader, progress=cancel)
    assert time.monotonic() - began < 5
    assert {stage for stage, _, _ in told} == {"qc", "tiling", "aggregating"}
