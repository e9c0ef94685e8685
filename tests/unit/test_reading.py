"""Reading: what comes out of the process that reads a slide."""

import os
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from deepsmile.errors import MppMissing, RequestInvalid, SlideCorrupt, StorageFull
from deepsmile.frames import PlanFacts, ReadCount, SlideFacts
from deepsmile.reading import Looked, OverviewImage, Reader
from deepsmile.settings import Settings
from deepsmile.slides.open import open_slide
from deepsmile.tiles import TileBatch, TileCount, plan_tiles, read_tiles
from tests import hostile
from tests.making import tissue_image, write_svs, write_tiff
from tests.readers import CONTRACT, limits


def test_a_slide_comes_as_facts_looks_plan_batches_count(slide_path: Path, reader: Reader) -> None:
    events = list(reader.read(slide_path, CONTRACT))
    kinds = [type(event).__name__ for event in events]
    looks, batches = kinds.count("Looked"), kinds.count("TileBatch")
    assert kinds == [
        "SlideFacts", *["Looked"] * looks, "PlanFacts", *["TileBatch"] * batches, "ReadCount",
    ]  # fmt: skip
    assert (looks > 0, batches) == (True, 2)


def test_the_pixels_are_those_that_this_process_would_read(
    slide_path: Path, reader: Reader, tmp_path: Path
) -> None:
    """The pipe changes nothing; batches, cells and counts included."""
    slide = open_slide(slide_path, tmp_path)
    plan, count = plan_tiles(slide, CONTRACT, None), TileCount()
    here = list(read_tiles(slide, plan, CONTRACT, reader.batch, count))
    events = list(reader.read(slide_path, CONTRACT))
    there = [event for event in events if isinstance(event, TileBatch)]
    assert len(there) == len(here)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.cells, other.cells)
        np.testing.assert_array_equal(one.pixels, other.pixels)
    assert isinstance(events[0], SlideFacts)
    assert events[0].levels == ((2100, 1600), (525, 400))
    planned = next(event for event in events if isinstance(event, PlanFacts))
    assert (planned.columns, planned.rows, planned.level) == (4, 3, 0)
    assert planned.candidates == len(plan.candidates)
    assert planned.glass_grey == plan.tissue.glass_grey
    assert isinstance(events[-1], ReadCount)
    assert (events[-1].decoded, events[-1].kept) == (count.decoded, count.kept)
    assert 0 < events[-1].cpu_s < 5


def test_the_overview_comes_when_asked_for(
    slide_path: Path, reader: Reader, tmp_path: Path
) -> None:
    plan = plan_tiles(open_slide(slide_path, tmp_path), CONTRACT, None)
    events = list(reader.read(slide_path, CONTRACT, overview=True, tiles=False))
    (image,) = [event.image for event in events if isinstance(event, OverviewImage)]
    np.testing.assert_array_equal(image, plan.overview.image)
    assert not [event for event in events if isinstance(event, TileBatch)]
    assert not [e for e in reader.read(slide_path, CONTRACT) if isinstance(e, OverviewImage)]


@pytest.mark.parametrize("size", [(300, 300), (300, 1600), (1600, 300)])
def test_the_overview_of_a_slide_without_tiles_is_empty(
    tmp_path: Path, reader: Reader, size: tuple[int, int]
) -> None:
    """HOUSE STYLE 36: 0 tiles, whichever side is too short."""
    path = write_svs(tmp_path / "slide.svs", tissue_image(*size), levels=1)
    events = list(reader.read(path, CONTRACT, overview=True))
    (image,) = [event.image for event in events if isinstance(event, OverviewImage)]
    assert image.shape == (size[1] // 512 * 32, size[0] // 512 * 32, 3)
    assert isinstance(events[-1], ReadCount)
    assert (events[-1].decoded, events[-1].kept) == (0, 0)


def test_looks_count_up_to_the_whole_grid(slide_path: Path, reader: Reader) -> None:
    looks = [e for e in reader.read(slide_path, CONTRACT, tiles=False) if isinstance(e, Looked)]
    assert looks[-1] == Looked(12, 12)
    assert [look.done for look in looks] == sorted(look.done for look in looks)


def test_the_request_s_mpp_reaches_the_plan(slide_path: Path, reader: Reader) -> None:
    events = reader.read(slide_path, CONTRACT, mpp=0.25, tiles=False)
    (plan,) = [event for event in events if isinstance(event, PlanFacts)]
    assert (plan.mpp, plan.mpp_source, plan.columns) == ((0.25, 0.25), "request", 2)


@pytest.mark.parametrize("mpp", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_requested_mpp_that_is_none_is_refused(
    slide_path: Path, reader: Reader, mpp: float
) -> None:
    """NaN must not quietly become the file's own scale on its way through JSON."""
    with pytest.raises(RequestInvalid, match="mpp"):
        list(reader.read(slide_path, CONTRACT, mpp=mpp))


def test_what_the_child_raises_is_raised_here(tmp_path: Path, reader: Reader) -> None:
    path = write_tiff(tmp_path / "slide.tif", tissue_image(600, 600), mpp=None)
    with pytest.raises(MppMissing) as missing:
        list(reader.read(path, CONTRACT))
    assert missing.value.detail == "the file states no microns per pixel"


def test_the_host_stays_warm_from_slide_to_slide(slide_path: Path, reader: Reader) -> None:
    list(reader.read(slide_path, CONTRACT))
    host = reader.host_pid
    list(reader.read(slide_path, CONTRACT))
    assert reader.host_pid == host


def test_a_reading_that_nobody_starts_reads_nothing(slide_path: Path, reader: Reader) -> None:
    reader.read(slide_path, CONTRACT)
    assert list(reader.read(slide_path, CONTRACT))


def test_two_threads_take_turns(slide_path: Path, reader: Reader) -> None:
    """One slide at a time: a second caller waits instead of mixing its frames in."""
    counts: list[object] = []
    threads = [
        Thread(target=lambda: counts.append(list(reader.read(slide_path, CONTRACT))[-1]))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(count) for count in counts] == [ReadCount] * 3


def test_what_decoders_print_does_not_get_between_the_frames(
    tmp_path: Path, reader: Reader
) -> None:
    """READERS 4.10: cuCIM prints on stdout; frames have a pipe of their own."""
    image = tissue_image(1100, 1100, tissue=0.8)
    chatty = write_tiff(tmp_path / "slide.tif", image, compression="adobe_deflate")
    assert isinstance(list(reader.read(chatty, CONTRACT))[-1], ReadCount)
    path = hostile.hollow_tile(write_tiff(tmp_path / "slide.tif", image, levels=1), 12)
    with pytest.raises(SlideCorrupt, match="JPEG"):
        list(reader.read(path, CONTRACT))


def test_a_second_reading_in_one_thread_is_a_mistake_and_no_deadlock(
    slide_path: Path, reader: Reader
) -> None:
    first = reader.read(slide_path, CONTRACT)
    next(first)
    with pytest.raises(RuntimeError, match="a reading of this thread is under way"):
        next(reader.read(slide_path, CONTRACT))
    assert isinstance(list(first)[-1], ReadCount)
    assert isinstance(list(reader.read(slide_path, CONTRACT))[-1], ReadCount)


def test_another_thread_waits_for_a_reading_that_is_suspended(
    slide_path: Path, reader: Reader
) -> None:
    first, last = reader.read(slide_path, CONTRACT), []
    next(first)
    other = Thread(target=lambda: last.extend(reader.read(slide_path, CONTRACT)))
    other.start()
    other.join(0.2)
    assert other.is_alive()
    first.close()
    other.join()
    assert isinstance(last[-1], ReadCount)


@pytest.mark.parametrize("name", [b"caf\xe9.svs", b"\xff"])
def test_a_path_that_is_not_utf_8_is_refused_with_a_way_out(
    slide_path: Path, tmp_path: Path, reader: Reader, name: bytes
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.symlink_to(slide_path)
    with pytest.raises(RequestInvalid, match="the path is not UTF-8") as refused:
        list(reader.read(path, CONTRACT))
    assert "link to it" in refused.value.hint
    assert list(reader.limits.scratch.iterdir()) == []


@pytest.mark.slow
def test_the_service_s_reader_leaves_the_reserve_of_its_settings(
    slide_path: Path, tmp_path: Path
) -> None:
    archive = hostile.zip_of(tmp_path / "slide.zip", {"slide.svs": slide_path})
    own = Settings(data_dir=tmp_path, disk_reserve_bytes=1 << 62).reader
    with pytest.raises(StorageFull, match="must stay so"):
        list(own.read(archive, CONTRACT))
    own.close()


@pytest.mark.slow
def test_readers_get_no_secret_of_the_environment(
    slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that a hostile slide has taken over finds no password there."""
    monkeypatch.setenv("DEEPSMILE_DATABASE_URL", "postgresql://deepsmile:secret@db/deepsmile")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    own = Reader(limits(tmp_path), batch=4)
    list(own.read(slide_path, CONTRACT))
    environment = Path(f"/proc/{own.host_pid}/environ").read_bytes()
    own.close()
    assert b"secret" not in environment
    assert b"\0LC_ALL=C.UTF-8\0" in b"\0" + environment
    assert b"CUCIM_CONFIG_PATH=" in environment


@pytest.mark.slow
def test_the_environment_cannot_switch_the_decoder(
    slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READERS 2: ENABLE_CUSLIDE2 without a GPU shows other levels, silently."""
    monkeypatch.setenv("ENABLE_CUSLIDE2", "1")
    own = Reader(limits(tmp_path), batch=4)
    facts = next(own.read(slide_path, CONTRACT))
    assert isinstance(facts, SlideFacts)
    assert facts.reader.startswith("cucim")
    assert facts.levels == ((2100, 1600), (525, 400))
    own.close()


@pytest.mark.slow
def test_modules_in_the_current_folder_are_not_imported(
    slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m` would look there first, and people score slides where they downloaded them."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('somebody else's code')")
    monkeypatch.chdir(tmp_path)
    own = Reader(limits(tmp_path), batch=4)
    assert isinstance(list(own.read(slide_path, CONTRACT))[-1], ReadCount)
    own.close()
