"""Reading and filtering every tile of a slide: our reader, isolated, against openslide-python.

    python -m benchmarks.reading [SLIDE] [--rounds 5]

Both do the same job on the same grid: pixels of the level that serves 1.143 um per px, RGB,
224 px, background rule. Ours includes its process, overview and pipe. The host that forks the
readers is warm, as in a worker; its one start is printed beside. CPU seconds of all processes.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import openslide
import psutil

from benchmarks.inputs import contract_of, reader_for
from benchmarks.slides import add_slide, slide_of
from deepsmile.frames import PlanFacts, ReadCount
from deepsmile.pyramid import resample
from deepsmile.tissue import is_tissue

GRIDS_UM = {"on the JPEG grid": 256.0, "off the JPEG grid": 253.2}


def cpu_of(process: psutil.Process) -> float:
    """User and system seconds of a process and of its reaped children."""
    times = process.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def ours(path: Path, size_um: float, scratch: Path) -> tuple[PlanFacts, int, float, float]:
    """Plan, tissue tiles, CPU seconds for one slide, CPU seconds of starting the host."""
    contract, reader = contract_of(size_um), reader_for(scratch)
    for _ in reader.read(path, contract, tiles=False):
        pass  # starts the host and warms the page cache
    host = psutil.Process(reader.host_pid)
    start_cpu, before, mine = cpu_of(host), cpu_of(host), time.process_time()
    plan, kept = None, 0
    for event in reader.read(path, contract):
        if isinstance(event, PlanFacts):
            plan = event
        if isinstance(event, ReadCount):
            kept = event.kept
    cpu = cpu_of(host) - before + time.process_time() - mine
    reader.close()
    assert plan is not None
    return plan, kept, cpu, start_cpu


def theirs(path: Path, plan: PlanFacts, size_um: float) -> tuple[int, float]:
    """Tissue tiles and CPU seconds with one openslide.read_region per tile."""
    slide = openslide.OpenSlide(path)
    rule = contract_of(size_um).tissue
    downsample = slide.level_downsamples[plan.level]
    crop = (round(plan.step_l0[0] / downsample), round(plan.step_l0[1] / downsample))
    tile, kept, before = np.empty((224, 224, 3), np.uint8), 0, time.process_time()
    for row in range(plan.rows):
        for column in range(plan.columns):
            corner = (round(column * plan.step_l0[0]), round(row * plan.step_l0[1]))
            region = slide.read_region(corner, plan.level, crop)
            resample(np.asarray(region)[..., :3], tile)
            kept += is_tissue(tile, rule, plan.glass_grey)
    return kept, time.process_time() - before


def compare(path: Path, size_um: float, rounds: int, scratch: Path) -> str:
    ratios, mine, other, starts = [], [], [], []
    for _ in range(rounds):
        plan, kept, cpu, start = ours(path, size_um, scratch)
        their_kept, their_cpu = theirs(path, plan, size_um)
        tiles = plan.columns * plan.rows
        ratios.append(their_cpu / cpu)
        mine.append(cpu / tiles * 1e3)
        other.append(their_cpu / tiles * 1e3)
        starts.append(start)
    return (
        f"{tiles} tiles, tissue {kept} (openslide {their_kept});"
        f" CPU ms per tile {statistics.median(mine):.3f},"
        f" openslide {statistics.median(other):.3f},"
        f" ratio 1/{statistics.median(ratios):.1f}"
        f" (of {min(ratios):.1f} to {max(ratios):.1f});"
        f" start of the host, once: {statistics.median(starts):.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_slide(parser)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    path = slide_of(arguments)
    for name, size_um in GRIDS_UM.items():
        with tempfile.TemporaryDirectory() as scratch:
            print(f"{name}: {compare(path, size_um, arguments.rounds, Path(scratch))}")


if __name__ == "__main__":
    main()
