"""Tiles of slides: what serving sees, bit for bit."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepsmile.pipeline import SlideSource, extract
from deepsmile.reading import Reader
from deepsmile.tiles import in_budget_order
from deepsmile_training.contracts import feature_contract
from deepsmile_training.tilesets.manifest import read_manifest
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.recipe import NO_ENCODER, slide_rules
from deepsmile_training.tilesets.sources import Sources, find_slides
from deepsmile_training.tilesets.store import TileStore, open_store
from tests.making import tissue_image, write_svs
from tests.training.conftest import PaintedSlide
from tests.training.tilesets.conftest import no_stage, press_in

RAW = {"encoding": "raw", "rules": slide_rules()}
pytestmark = pytest.mark.slow

BLOCKED = """
import sys
from pathlib import Path
from deepsmile.reading import Reader, ReaderLimits
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.pressing import Press
from deepsmile_training.tilesets.recipe import TileRecipe, slide_rules
from deepsmile_training.tilesets.sources import find_slides

slides, store, scratch = map(Path, sys.argv[1:])

def stage(what, total):
    def advance():
        print("packed", flush=True)
        sys.stdin.read()
    return advance

reader = lambda: Reader(ReaderLimits(scratch, 4 << 30, 60, 30.0), batch=4)
press = Press(store, TileRecipe(encoding="raw", rules=slide_rules()), reader)
pack(find_slides([slides], None), press, stage)
"""
"""Packs, and goes no further once a slide is finished."""


class Recorder:
    """An encoder that keeps the tiles it is given."""

    name, concurrency = "recorder", 1

    def __init__(self) -> None:
        self.tiles: list[np.ndarray] = []

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        self.tiles.append(tiles.copy())
        return np.zeros((len(tiles), 1), np.float32)


def of_slide(store: TileStore, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 224, 224, 3) and cells (n, 2) of one slide."""
    number = [slide.name for slide in store.slides].index(name)
    places = np.flatnonzero(store.slide_index == number)
    return store.read(places), store.cells[places]


@pytest.fixture(scope="module")
def sources(painted: dict[str, PaintedSlide]) -> Sources:
    return find_slides([painted["aperio"].path.parent], None)


@pytest.fixture(scope="module")
def whole(sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    """All tiles of the painted slides."""
    press = press_in(tmp_path_factory.mktemp("whole") / "store", **RAW)
    return pack(sources, press, no_stage)


def test_a_raw_tile_is_what_the_pipeline_encodes_bit_for_bit(
    painted: dict[str, PaintedSlide], whole: TileStore, reader: Reader
) -> None:
    """HOUSE STYLE 9: training calls the pipeline for pixels."""
    assert [slide.name for slide in whole.slides] == ["aperio", "generic"]
    for slide in whole.slides:
        recorder, source = Recorder(), SlideSource(painted[slide.name].path)
        extraction = extract(source, feature_contract(NO_ENCODER), recorder, reader)
        pixels, cells = of_slide(whole, slide.name)
        assert np.array_equal(pixels, np.concatenate(recorder.tiles))
        order = np.lexsort((cells[:, 0], cells[:, 1]))
        assert np.array_equal(cells[order], extraction.need_bag().cells)
        assert (slide.sha256, slide.tiles) == (extraction.sha256, len(cells))


def test_a_budget_takes_the_tiles_that_serving_would(
    sources: Sources, whole: TileStore, tmp_path: Path
) -> None:
    """The first tissue tiles of the contract's seeded order."""
    rules = slide_rules(max_tiles=4, seed=5)
    few = pack(sources, press_in(tmp_path / "few", encoding="raw", rules=rules), no_stage)
    for slide in few.slides:
        pixels, cells = of_slide(whole, slide.name)
        found, places = of_slide(few, slide.name)
        first = in_budget_order(cells, rules.budget)[:4]
        assert {tuple(cell) for cell in places} == {tuple(cell) for cell in first}
        by_cell = {tuple(cell): tile for cell, tile in zip(cells, pixels, strict=True)}
        for cell, tile in zip(places, found, strict=True):
            assert np.array_equal(tile, by_cell[tuple(cell)])


def test_jpeg_tiles_are_near_and_a_fraction_of_the_size(
    sources: Sources, whole: TileStore, tmp_path: Path
) -> None:
    press = press_in(tmp_path / "jpeg", encoding="jpeg", rules=slide_rules())
    jpeg = pack(sources, press, no_stage)
    error = np.abs(whole.read(range(len(whole))).astype(int) - jpeg.read(range(len(jpeg))))
    raw_bytes, jpeg_bytes = (
        sum(path.stat().st_size for path in store.folder.rglob("*.tiles"))
        for store in (whole, jpeg)
    )
    assert 0 < error.mean() < 2
    assert raw_bytes == len(whole) * 224 * 224 * 3 > 4 * jpeg_bytes
    assert jpeg.file.recipe.encoding == "jpeg"
    assert jpeg.digest != whole.digest


def test_broken_and_bare_slides_are_listed_and_stop_nothing(
    painted: dict[str, PaintedSlide], tmp_path: Path
) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    good = painted["aperio"].path.read_bytes()
    (slides / "good.svs").write_bytes(good)
    (slides / "copy.svs").write_bytes(good)
    (slides / "cut.svs").write_bytes(good[: len(good) // 2])
    (slides / "empty.svs").write_bytes(b"")
    (slides / "notes.txt").write_text("no slide")
    write_svs(slides / "bare.svs", tissue_image(2100, 1600, tissue=0))
    write_svs(slides / "scaleless.svs", tissue_image(2100, 1600), mpp="")
    press = press_in(tmp_path / "store", workers=2, **RAW)
    store = pack(find_slides([slides], None), press, no_stage)
    assert [slide.name for slide in store.slides] == ["copy"]
    reasons = {one.slide: (one.code, one.detail) for one in store.file.dropped}
    assert {name: code for name, (code, _) in reasons.items()} == {
        "bare": "too_little_tissue",
        "cut": "slide_truncated",
        "empty": "slide_empty",
        "good": "slide_twice",
        "scaleless": "mpp_missing",
    }
    assert reasons["good"][1] == "the same bytes as copy"


def test_microns_per_pixel_of_the_manifest_are_believed(tmp_path: Path) -> None:
    """The paper's cohorts have slides without; at 0.5 um this one has the tiles of its twin."""
    image = tissue_image(2100, 1600, tissue=0.8)
    (tmp_path / "slides").mkdir()
    write_svs(tmp_path / "slides" / "with.svs", image)
    write_svs(tmp_path / "slides" / "without.svs", image, mpp="")
    (tmp_path / "slides.csv").write_text("slide,mpp\nwith,\nwithout,0.5\n")
    found = find_slides([tmp_path / "slides"], read_manifest(tmp_path / "slides.csv"))
    store = pack(found, press_in(tmp_path / "store", **RAW), no_stage)
    (first, places), (second, others) = (of_slide(store, name) for name in ("with", "without"))
    assert np.array_equal(first, second)
    assert np.array_equal(places, others)


def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(
    sources: Sources, whole: TileStore, tmp_path: Path
) -> None:
    """SIGKILL of the whole packing process, after its first slide."""
    store, folder = tmp_path / "killed", sources.entries[0].files[0].parent
    command = [sys.executable, "-c", BLOCKED, *map(str, (folder, store, tmp_path / "other"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"packed\n"
        child.send_signal(signal.SIGKILL)
    assert not json.loads((store / "store.json").read_text())["complete"]
    half_written = store / "shards" / ".0123.partial"
    half_written.write_bytes(b"half a tile")
    finished = {path: path.stat().st_mtime_ns for path in store.rglob("*.npz")}
    assert finished
    again = pack(sources, press_in(store, **RAW), no_stage)
    assert again.digest == whole.digest
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not half_written.exists()
    assert open_store(store).digest == whole.digest
