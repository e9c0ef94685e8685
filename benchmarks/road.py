"""The road: `deepsmile score` against the sum of its floors, timed in the same process.

    python -m benchmarks.road [SLIDE] [--architecture shufflenet_v2_x1_0] [--rounds 5]

Floors, each alone on the same threads: decode every JPEG tile under the tissue tiles once
(libjpeg-turbo, whole tiles, no copies), one bilinear resize per tile, encode as many batches.
Work: the wall time of `score_slide`, host and models loaded, hashing included. Goals: work at
most 1.15 x the sum when tiles fall on the JPEG grid, 1.35 x off it (plus 0.3 ms a tile for
isolation); wall at most 1.25 x the slowest stage alone; first tile within 1 s of a cold
`deepsmile score`; at most 500 MB for the whole process tree.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import psutil
import tifffile

from benchmarks.inputs import ARCHITECTURES, reader_for, throwaway_bundle
from benchmarks.slides import add_slide, slide_of
from deepsmile.backends.onnx import OnnxBackend, available_cores
from deepsmile.bundle import Bundle
from deepsmile.frames import PlanFacts
from deepsmile.pipeline import SlideSource, extract, score_slide
from deepsmile.reading import Reader
from deepsmile.tiles import TileBatch

BATCH = 4
ISOLATION_MS = 0.3
GRIDS_UM = {"on the JPEG grid": (256.0, 1.15), "off the JPEG grid": (253.2, 1.35)}


def wall(count: int, work: Callable[[int], object], threads: int) -> float:
    """Seconds for `work(0) ... work(count - 1)` on `threads` threads."""
    numbers = iter(range(count))
    lock = threading.Lock()

    def drain(_: int) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            work(number)

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(drain, range(threads)))
    return time.perf_counter() - started


def jpeg_tiles(path: Path, plan: PlanFacts, cells: list[tuple[int, int]]) -> list[bytes]:
    """The stored tiles of the level that lie under the tissue tiles, each once."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.series[0].levels[plan.level].pages[0]
        across = -(-page.imagewidth // page.tilewidth)
        step = [s * m / lm for s, m, lm in zip(plan.step_l0, plan.mpp, plan.level_mpp, strict=True)]
        needed = set()
        for column, row in cells:
            xs = range(
                int(column * step[0]) // page.tilewidth, _last(column, step[0], page.tilewidth)
            )
            ys = range(int(row * step[1]) // page.tilelength, _last(row, step[1], page.tilelength))
            needed |= {y * across + x for x, y in itertools.product(xs, ys)}
        handle, stored = tiff.filehandle, []
        for index in sorted(needed):
            handle.seek(page.dataoffsets[index])
            stored.append(handle.read(page.databytecounts[index]))
    return stored


def _last(cell: int, step: float, tile: int) -> int:
    return int((cell + 1) * step - 1e-6) // tile + 1


def floors(path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader) -> dict[str, float]:
    """Seconds of each stage alone."""
    plan, cells = None, []
    for event in reader.read(path, bundle.contract.features):
        if isinstance(event, PlanFacts):
            plan = event
        if isinstance(event, TileBatch):
            cells += [(c, r) for c, r in event.cells.tolist()]
    assert plan is not None
    stored = jpeg_tiles(path, plan, cells)
    rng = np.random.default_rng(0)
    source = rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)
    tiles = rng.integers(0, 255, (BATCH, 224, 224, 3), dtype=np.uint8)
    threads = backend.concurrency
    return {
        "decode": wall(len(stored), lambda i: imagecodecs.jpeg8_decode(stored[i]), threads),
        "resize": wall(len(cells), lambda _: cv2.resize(source, (224, 224)), threads),
        "encode": wall(-(-len(cells) // BATCH), lambda _: backend.encode(tiles), threads),
        "tiles": len(cells),
    }


def reading_alone(path: Path, bundle: Bundle, reader: Reader) -> float:
    started = time.perf_counter()
    for _ in reader.read(path, bundle.contract.features):
        pass
    return time.perf_counter() - started


def compare(path: Path, bundle: Bundle, reader: Reader, rounds: int, goal: float) -> str:
    backend = OnnxBackend(bundle, available_cores())
    score_slide(SlideSource(path), bundle, backend, reader)
    of_floors, of_slowest, works = [], [], []
    for _ in range(rounds):
        parts = floors(path, bundle, backend, reader)
        tiles = parts.pop("tiles")
        reading = reading_alone(path, bundle, reader)
        started = time.perf_counter()
        extract(SlideSource(path), bundle.contract.features, backend, reader)
        work = time.perf_counter() - started
        allowed = sum(parts.values()) + tiles * ISOLATION_MS / 1e3
        works.append(work)
        of_floors.append((work / sum(parts.values()), work / allowed))
        of_slowest.append(work / max(parts["encode"], reading))
    plain, with_isolation = (statistics.median(values) for values in zip(*of_floors, strict=True))
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())
    return (
        f"{int(tiles)} tiles, work {statistics.median(works):.2f} s = {plain:.2f} x the floors"
        f" ({with_isolation:.2f} x with {ISOLATION_MS} ms a tile for isolation; goal {goal}),"
        f" {statistics.median(of_slowest):.2f} x the slowest stage alone (goal 1.25); last round's"
        f" floors: {stages}, reading alone {reading:.2f} s"
    )


def cold_run(path: Path, root: Path, bundle: Bundle, folder: Path) -> str:
    """A cold `deepsmile score`: wall, first tile, peak memory of the process tree."""
    environment = os.environ | {
        "DEEPSMILE_MODEL_REPOSITORY": str(root),
        "DEEPSMILE_DEFAULT_BUNDLE": bundle.name,
        "DEEPSMILE_DATA_DIR": str(folder),
    }
    command = [Path(sys.executable).parent / "deepsmile", "score", path, "--json"]
    started, peak_uss, peak_rss = time.perf_counter(), 0, 0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        memory = tree_memory(process.pid)
        peak_uss, peak_rss = max(peak_uss, memory[0]), max(peak_rss, memory[1])
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    return f"cold: {seconds:.2f} s, peak {peak_uss >> 20} MB PSS ({peak_rss >> 20} MB RSS summed)"


def tree_memory(pid: int) -> tuple[int, int]:
    """Proportional and resident bytes of a process and all its descendants."""
    pss = rss = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            memory = process.memory_full_info()
            pss, rss = pss + memory.pss, rss + memory.rss
    except psutil.Error:
        return 0, 0
    return pss, rss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_slide(parser)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="shufflenet_v2_x1_0")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    path = slide_of(arguments)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root, reader = Path(folder), reader_for(Path(folder) / "scratch")
        for name, (size_um, goal) in GRIDS_UM.items():
            bundle = throwaway_bundle(root, arguments.architecture, size_um)
            line = compare(path, bundle, reader, arguments.rounds, goal)
            print(f"{arguments.architecture}, {name}: {line}", flush=True)
        print(cold_run(path, root, bundle, Path(folder)))
        reader.close()


if __name__ == "__main__":
    main()
