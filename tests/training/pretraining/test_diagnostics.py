"""Diagnostics against loops typed from Wang & Isola 2020."""

import math
import time

import pytest
import torch

from deepsmile_training.pretraining.diagnostics import Meter, spread_of


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


def test_meter_tells_work_from_waiting() -> None:
    meter = Meter()
    with meter.working(10):
        time.sleep(0.05)
    time.sleep(0.15)
    told = meter.read()
    assert 0.5 < told["idle_share"] < 0.9
    assert told["tiles_per_s"] < 10 / 0.2
