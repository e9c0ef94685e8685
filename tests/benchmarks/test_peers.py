"""The comparison with peers: its arithmetic, its matching of tiles, and our own runner."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.peers import figures, likeness, network, pixels, places, protocol
from benchmarks.peers.figures import Cost, Run
from benchmarks.peers.launching import Tool, launch
from benchmarks.peers.prepare import write_weights
from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import SUFFIX, Bundle
from deepsmile.pipeline import SlideSource, extract
from deepsmile.reading import Reader
from tests.making import tissue_image, write_tiff

pytestmark = pytest.mark.slow

PEER = Cost(tiles=(10, 110), cpu_ms=100.0, wall_ms=60.0, whole_s=50.0, peak_mb=900.0)
QUICK_PEER = Cost(tiles=(10, 110), cpu_ms=120.0, wall_ms=50.0, whole_s=40.0, peak_mb=900.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pt"
    rng = np.random.default_rng(0)
    write_weights(path, rng.integers(0, 256, (4, 224, 224, 3), dtype=np.uint8))
    return path


def test_a_tile_costs_the_slope_between_two_slides_whatever_starting_costs() -> None:
    small = [Run(10, 7.0, 6.0, 800.0), Run(10, 9.0, 8.0, 800.0), Run(10, 7.0, 6.0, 800.0)]
    large = [Run(110, 13.0, 16.0, 900.0), Run(110, 15.0, 18.0, 950.0), Run(110, 27.0, 46.0, 990.0)]
    found = figures.cost(small, large)
    assert found.tiles == (10, 110)
    assert found.cpu_ms == pytest.approx(100.0)  # slopes 100, 100, 400
    assert found.wall_ms == pytest.approx(60.0)  # slopes 60, 60, 200
    assert (found.whole_s, found.peak_mb) == (15.0, 950.0)


def test_two_slides_of_as_many_tiles_have_no_slope() -> None:
    with pytest.raises(AssertionError, match="more tiles"):
        figures.cost([Run(10, 1.0, 1.0, 1.0)], [Run(10, 1.0, 1.0, 1.0)])


def test_a_tool_that_keeps_more_tiles_is_not_slower_by_its_tiles() -> None:
    ours = Cost((5, 55), 50.0, 30.0, 10.0, 300.0)
    _, wall = figures.verdicts("fp32", ours, {"A": PEER})
    assert "5.0 x as fast as A (2.5 x by the tiles" in wall  # 50 s for 110 against 10 s for 55


@pytest.mark.parametrize(
    ("precision", "cpu_ms", "whole_s", "verdict"),
    [
        ("fp32", 60.0, 16.0, ("0.60 x that of A", "reached", "2.5 x as fast as B", "reached")),
        ("fp32", 61.0, 16.1, ("0.61 x", "not reached", "2.5 x as fast", "not reached")),
        ("int8", 35.0, 10.0, ("0.35 x", "reached", "4.0 x as fast", "reached")),
        ("int8", 36.0, 10.1, ("0.36 x", "not reached", "4.0 x as fast", "not reached")),
    ],
)
def test_goals_are_against_the_best_peer_of_each(
    precision: str, cpu_ms: float, whole_s: float, verdict: tuple[str, str, str, str]
) -> None:
    ours = Cost((10, 110), cpu_ms, 10.0, whole_s, 300.0)
    cpu, wall = figures.verdicts(precision, ours, {"A": PEER, "B": QUICK_PEER})
    assert verdict[0] in cpu
    assert cpu.endswith(f": {verdict[1]}")
    assert verdict[2] in wall
    assert wall.endswith(f": {verdict[3]}")


def test_a_peer_without_an_environment_is_listed_as_missing() -> None:
    lines = figures.table({"A": PEER, "B": None})
    assert lines[2] == "| A | 10, 110 | 100.0 | 60.0 | 50.0 | 900 |"
    assert lines[3].startswith("| B | missing |")


def test_tiles_pair_where_they_lie_at_the_same_place() -> None:
    ours = np.array([[0.0, 0.0], [1024.0, 0.0], [2048.0, 0.0]])
    theirs = np.array([[2050.0, -3.0], [512.0, 0.0], [0.0, 0.0], [1029.0, 0.0]])
    found = places.pair(ours, theirs)
    assert found.ours.tolist() == [0, 2]
    assert found.theirs.tolist() == [2, 0]
    assert found.apart_px.tolist() == [[0.0, 0.0], [2.0, -3.0]]


def test_cosines_are_those_of_each_pair_of_rows() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 7)).astype(np.float32)
    slow = []
    for row, other in zip(a.tolist(), b.tolist(), strict=True):
        dot = sum(x * y for x, y in zip(row, other, strict=True))
        slow.append(dot / (sum(x * x for x in row) * sum(y * y for y in other)) ** 0.5)
    assert places.cosines(a, b) == pytest.approx(slow)


def test_psnr_of_pixels_that_are_all_one_grey_off() -> None:
    a = np.full((2, 4, 4, 3), 100, np.uint8)
    assert places.psnr_db(a, a + 1) == pytest.approx(48.1308, abs=1e-4)
    assert places.psnr_db(a, a) == float("inf")


def test_an_answer_is_found_among_what_a_peer_says() -> None:
    said = 'loading\n{"peer": "A", "tiles": 3, "dim": 2, "work_s": 1.0}\nbye\n'
    assert protocol.last_answer(said)["tiles"] == 3
    with pytest.raises(AssertionError, match="without an answer"):
        protocol.last_answer("loading\nbye\n")


def test_features_and_pixels_come_back_from_their_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = protocol.Encoded(
        rng.normal(size=(3, 2)).astype(np.float32),
        rng.normal(size=(3, 2)),
        rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8),
    )
    protocol.save(made, tmp_path / "a.npz")
    found = protocol.load(tmp_path / "a.npz")
    assert np.array_equal(found.features, made.features)
    assert np.array_equal(found.corners_l0, made.corners_l0)
    assert np.array_equal(found.pixels, made.pixels)


def test_pixels_are_found_for_features_in_any_order(weights: Path) -> None:
    tiles = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    watched = network.Network(weights, keep=True)
    with torch.no_grad():
        planes = network.as_planes(torch.from_numpy(tiles))  # (3, 3, 224, 224)
        features = torch.cat([watched(planes[:1]), watched(planes[1:])]).numpy()  # (3, 512)
    order = [2, 0, 1]
    assert np.array_equal(watched.pixels_of(features[order]), tiles[order])
    assert network.Network(weights, keep=False).pixels_of(features) is None


def test_the_candidate_that_made_the_pixels_is_named(tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", tissue_image(2048, 2048, tissue=0.9))
    corners = np.array([[512.0, 512.0], [1024.0, 512.0]])
    made = {str(one): one for one in pixels.candidates(slide, corners)}
    assert set(made) == {f"level {i}, {kernel}" for i in (0, 1) for kernel in pixels.KERNELS}
    for name in ("level 0, area", "level 1, bicubic, antialiased"):
        found, decibel = pixels.nearest(slide, corners, made[name].tiles)
        assert (str(found), decibel) == (name, float("inf"))


@pytest.mark.slow
def test_our_runner_answers_with_what_the_pipeline_makes(
    slide_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    model = bundle.root / f"{bundle.name}{SUFFIX}"
    run, encoded = launch(Tool("ours", "with_deepsmile", Path(sys.executable), model), slide_path)
    bag = extract(SlideSource(slide_path), bundle.contract.features, backend, reader).need_bag()
    assert run.tiles == len(bag.features)
    assert np.allclose(encoded.features, bag.features, atol=1e-5)
    assert np.array_equal(encoded.corners_l0, bag.corners_l0)
    assert 0 < run.cpu_s < 60
    assert 20 < run.peak_mb < 1000


@pytest.mark.slow
def test_a_runner_that_fails_is_no_figure(slide_path: Path, tmp_path: Path) -> None:
    tool = Tool("ours", "with_deepsmile", Path(sys.executable), tmp_path / f"none{SUFFIX}")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        launch(tool, slide_path)
    assert "none" in failure.value.__notes__[0]


def test_likeness_of_a_peer_that_shrinks_otherwise_is_explained(tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", tissue_image(2048, 2048, tissue=0.9))
    corners = np.array([[512.0, 512.0], [1024.0, 512.0], [512.0, 1024.0]])
    made = {str(one): one.tiles for one in pixels.candidates(slide, corners)}
    encoder = _Greys()
    ours = protocol.Encoded(encoder.encode(made[f"level 1, {pixels.OURS}"]), corners)
    tiles = made["level 0, nearest"][::-1]
    theirs = protocol.Encoded(encoder.encode(tiles), corners[::-1], tiles)
    found = likeness.compare(slide, ours, theirs, encoder)
    assert (found.tiles, found.apart_px) == (3, 0.0)
    assert found.nearest == "level 0, nearest"
    assert found.same_pixels.least == pytest.approx(1.0)
    assert found.explained.least == pytest.approx(1.0)
    assert found.features.least < 0.9999


class _Greys:
    """An encoder that gives the tile's upper left greys."""

    concurrency = 1
    name = "greys"

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        return tiles[:, :16, :16, 0].reshape(len(tiles), -1).astype(np.float32)
