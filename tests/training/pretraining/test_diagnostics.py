"""Diagnostics against loops typed from Wang & Isola 2020."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deepsmile_training.pretraining.diagnostics import Meter, spread_of
from deepsmile_training.pretraining.logbook import summary_of


def test_alignment_and_uniformity_are_wang_and_isolas() -> None:
    z = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    first, second = ([[v / math.hypot(*row) for v in row] for row in view] for view in z.tolist())
    alignment = sum(math.dist(a, b) ** 2 for a, b in zip(first, second, strict=True)) / 6
    kernels = [
        math.exp(-2 * math.dist(first[i], first[j]) ** 2) for i in range(6) for j in range(i)
    ]
    told = spread_of(z)
    assert told["alignment"] == pytest.approx(alignment, rel=1e-5)
    assert told["uniformity"] == pytest.approx(math.log(sum(kernels) / len(kernels)), rel=1e-5)


def test_collapse_shows() -> None:
    """All embeddings alike: no deviation, uniformity at its worst; and 1 when evenly spread."""
    alike = torch.ones(2, 8, 16)
    told = spread_of(alike)
    assert told["feature_std"] == pytest.approx(0, abs=1e-6)
    assert told["uniformity"] == pytest.approx(0, abs=1e-6)
    even = torch.randn(2, 512, 16, generator=torch.Generator().manual_seed(0))
    assert spread_of(even)["feature_std"] == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_meter_tells_work_from_waiting() -> None:
    """And neither from what lies between, such as a probe."""
    meter = Meter()
    for batch in meter.awaited(late_batches()):
        with meter.working(batch):
            time.sleep(0.05)
        time.sleep(0.5)
    told = meter.read()
    assert 0.5 < told["idle_share"] < 0.9
    assert 10 / 0.8 < told["tiles_per_s"] < 10 / 0.4


def late_batches() -> Iterator[int]:
    """Two batches of five tiles."""
    for _ in range(2):
        time.sleep(0.15)
        yield 5


def test_summary_tells_the_pace_of_the_whole_run(tmp_path: Path) -> None:
    """Of 400 tiles in 10 s, 3 of them idle: 20 steps in 4 s, then 20 in 6 s; a probe between."""
    alike = {"loss": 1.0, "feature_std": 1.0, "alignment": 0.0, "uniformity": 0.0}
    entries = [
        {"step": 20, **alike, "tiles_per_s": 200 / 4, "idle_share": 0.0},
        {"step": 20, "knn_slide": 0.5},
        {"step": 40, **alike, "tiles_per_s": 200 / 6, "idle_share": 3 / 6},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))
    assert "40 tiles/s, idle for want of tiles 30.0%" in summary_of(tmp_path)
