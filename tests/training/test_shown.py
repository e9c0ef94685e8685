"""The two slides of `deepsmile demo`."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from deepsmile_training.cli.main import commands
from deepsmile_training.demo.shown import shown_specs

MAX_BYTES = 1_500_000
SHIPPED = Path(__file__).parents[2] / "services" / "deepsmile" / "demo"


def test_they_differ_in_both_labels() -> None:
    specs = shown_specs(2026)
    assert specs["heterogeneous"].heterogeneous
    assert not specs["homogeneous"].heterogeneous
    assert specs["heterogeneous"].cellular
    assert not specs["homogeneous"].cellular


@pytest.mark.slow
def test_the_command_makes_the_two_that_are_shipped(tmp_path: Path) -> None:
    """Small files; other processors may paint a few pixels differently, but no more."""
    result = CliRunner().invoke(commands, ["demo-slides", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for name in ("heterogeneous.svs", "homogeneous.svs"):
        made = tmp_path / name
        assert made.stat().st_size <= MAX_BYTES
        pixels, shipped = tifffile.imread(made), tifffile.imread(SHIPPED / name)
        difference = np.abs(pixels.astype(np.int16) - shipped)  # (h, w, 3)
        assert np.mean(difference > 8) < 1e-3
