"""A small seed of each benchmark: it runs, and a claim that is lost by far is noticed.

The others have theirs where their subject is tested: queue_faults in tests/e2e, upload in
tests/api/test_uploads.py, slides in tests/training.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks import encoding, gpu, precision, reading, road, robustness, serving, startup
from benchmarks.inputs import GMAC, reader_for, throwaway_bundle
from deepsmile.backends.onnx import OnnxBackend, available_cores
from deepsmile.bag import Features
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.errors import BackendMissing
from deepsmile.slides.slide import RGB
from deepsmile.triton.install import find_triton
from deepsmile_training.encoders.tile_encoder import make_encoder
from tests.making import make_bundle, tissue_image, write_tiff

pytestmark = pytest.mark.slow

ARCHITECTURE = "shufflenet_v2_x1_0"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 tiles of 256 um that fall on the JPEG tiles of a level of 1 um per px."""
    image = tissue_image(5120, 5120, tissue=0.9)
    return write_tiff(tmp_path_factory.mktemp("slide") / "slide.tif", image)


@pytest.fixture(scope="module")
def timing_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return throwaway_bundle(tmp_path_factory.mktemp("models"), ARCHITECTURE, 256.0)


@pytest.mark.parametrize("size_um", reading.GRIDS_UM.values(), ids=reading.GRIDS_UM)
def test_reading_takes_less_than_openslide_for_the_same_tiles(
    slide: Path, tmp_path: Path, size_um: float
) -> None:
    plan, kept, cpu_s, _ = reading.ours(slide, size_um, tmp_path)
    their_kept, their_cpu_s = reading.theirs(slide, plan, size_um)
    assert kept == pytest.approx(their_kept, abs=0.02 * kept)
    assert cpu_s < 0.7 * their_cpu_s


def test_the_encoder_comes_near_the_machine_s_own_multiplication(timing_bundle: Bundle) -> None:
    threads = available_cores()
    backend = OnnxBackend(timing_bundle, threads)
    tiles = np.zeros((encoding.BATCH, 224, 224, 3), np.uint8)
    side = np.ones((encoding.SIDE, encoding.SIDE), np.float32)
    sgemm = encoding.rate(lambda: side @ side, 2 * encoding.SIDE**3 / 1e9, threads)
    gflop = 2 * GMAC[ARCHITECTURE] * encoding.BATCH
    assert encoding.rate(partial(backend.encode, tiles), gflop, threads) > 0.2 * sgemm


def test_the_road_comes_near_its_floors(slide: Path, timing_bundle: Bundle, tmp_path: Path) -> None:
    reader, backend = reader_for(tmp_path), OnnxBackend(timing_bundle, available_cores())
    parts = road.floors(slide, timing_bundle, backend, reader)
    reading_s = road.reading_alone(slide, timing_bundle, reader)
    assert 30 < parts["tiles"] <= 100
    line = road.compare(slide, timing_bundle, reader, rounds=1, goal=1.15)
    reader.close()
    assert float(line.split(" x the floors")[0].rsplit(" ", 1)[1]) < 3
    assert 0 < reading_s < 10


def test_a_cold_run_stays_small(slide: Path, timing_bundle: Bundle, tmp_path: Path) -> None:
    line = road.cold_run(slide, timing_bundle.root, timing_bundle, tmp_path)
    assert 50 < int(line.split(" MB PSS")[0].rsplit(" ", 1)[1]) < 500


def test_the_first_tile_comes_soon(slide: Path, tmp_path: Path) -> None:
    make_bundle(tmp_path)
    ours = {"MODEL_REPOSITORY": tmp_path, "DEFAULT_BUNDLE": "tiny", "DATA_DIR": tmp_path / "data"}
    environment = os.environ | {f"DEEPSMILE_{key}": str(value) for key, value in ours.items()}
    assert startup.first_tile(slide, environment) < 5


def test_precision_compares_both_on_the_same_tiles(slide: Path, tmp_path: Path) -> None:
    tiles = precision.tissue_tiles(slide, tmp_path)
    assert tiles.shape[1:] == (224, 224, 3)
    assert len(tiles) > 30
    alike = precision.cosine_in_fp16(make_encoder(ARCHITECTURE, 0).eval(), tiles[:2])
    assert 0.99 < alike.min() <= alike.max() < 1 - 1e-7


def test_a_change_of_tiles_is_what_moves_features(
    slide: Path, timing_bundle: Bundle, tmp_path: Path
) -> None:
    changes = {"none": lambda tiles: tiles, "noise": robustness.CHANGES["noise of 4 grey levels"]}
    none, noise = (
        shift for _, shift in robustness.shifts(timing_bundle, [slide], tmp_path, changes)
    )
    assert none.score == 0
    assert none.cosine_min == pytest.approx(1)
    assert noise.cosine_mean < 0.9999


def test_changes_are_as_large_as_they_say() -> None:
    tiles = np.random.default_rng(0).integers(60, 200, (2, 64, 64, 3)).astype(np.uint8)
    tiles[:, :32] = 128
    apart = {name: change(tiles).astype(int) - tiles for name, change in robustness.CHANGES.items()}
    assert set(np.unique(apart["noise of 1 grey level"])) == {-1, 0, 1}
    assert set(np.unique(apart["noise of 4 grey levels"])) == set(range(-4, 5))
    assert set(np.unique(apart["2 grey levels brighter"])) == {2}
    for softened in ("blur of 0.5 px", "JPEG of quality 80"):
        assert not apart[softened][:, :16].any()
        assert apart[softened][:, 40:].any()


def test_the_gpu_s_road_runs_on_any_device(tmp_path: Path) -> None:
    backend = gpu.TorchBackend(throwaway_bundle(tmp_path, gpu.ARCHITECTURE, 256.0), "cpu", batch=4)
    tiles = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    assert backend.encode(tiles).shape == (3, 512)
    assert "tiles/s in batches of 3" in gpu.encoding(backend, batch=3, rounds=1)
    other, held = 255 - tiles[:2], backend.encode(tiles[:2])
    apart = np.abs(held - backend.encode_held(torch.from_numpy(tiles[:2]))).max()
    assert apart == 0 < np.abs(held - backend.encode(other)).max(), "it was copied anew"


class Counting:
    """A backend that encodes nothing, and counts what it is given."""

    name, concurrency = "counting", gpu.STREAMS

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, tiles: RGB) -> Features:
        self.batches.append(len(tiles))
        return np.ones((len(tiles), 512), np.float32)

    def score(
        self, head: Head, features: Features
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.zeros((1, 2), np.float32), np.ones((1, len(features)), np.float32)


def test_the_gpu_is_given_a_slide_in_batches_as_large_as_asked(slide: Path, tmp_path: Path) -> None:
    bundle, counting = throwaway_bundle(tmp_path, gpu.ARCHITECTURE, 256.0), Counting()
    line = gpu.whole(slide, bundle, counting, batch=32, rounds=1)
    read = sum(counting.batches) // 2
    batches = [32] * (read // 32) + [read % 32] * bool(read % 32)
    assert sorted(counting.batches) == sorted(2 * batches)
    assert f"a slide of {read} tiles in batches of 32" in line


def test_a_second_head_on_a_known_slide_costs_next_to_nothing(
    slide: Path, timing_bundle: Bundle, tmp_path: Path
) -> None:
    other = throwaway_bundle(timing_bundle.root, ARCHITECTURE, 256.0, members=3)
    line = serving.second_head(slide, timing_bundle, other, tmp_path)
    assert float(line.split("slide: ")[1].split(" ")[0]) < 0.2


def test_the_encoder_behind_triton_comes_near_the_one_in_process(
    timing_bundle: Bundle, tmp_path: Path
) -> None:
    try:
        find_triton()
    except BackendMissing as error:
        pytest.skip(f"{error.detail}: {error.hint}")
    with serving.triton_with(timing_bundle, tmp_path) as server:
        lines = list(serving.transports(timing_bundle, server.url, rounds=1))
    assert [line.split(":")[0] for line in lines] == [
        "encoder over shared memory",
        "encoder over gRPC",
    ]
    assert min(float(line.split(": ")[1].split(" ")[0]) for line in lines) > 0.2
