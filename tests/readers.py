"""Readers under test: their limits, their processes, what they leave behind."""

from pathlib import Path
from typing import Any

import psutil

from deepsmile.reading import Reader, ReaderLimits
from deepsmile.tiles import TileBatch
from tests.making import feature_contract

CONTRACT = feature_contract()
SMALL_TILES = feature_contract(
    tile={"size_um": 64.0, "size_px": 224, "origin_um": (0.0, 0.0), "edge": "drop"},
    pixels={**CONTRACT.pixels.model_dump(), "upsample": True},
)
"""Some hundred tiles on a small slide: more than the pipe holds."""


def limits(root: Path, **changes: Any) -> ReaderLimits:
    """Generous ones, but for `changes`."""
    return ReaderLimits(
        **{
            "scratch": root / "scratch",
            "memory_bytes": 4 << 30,
            "cpu_s": 60,
            "stall_s": 30.0,
            **changes,
        }
    )


def children(reader: Reader) -> list[psutil.Process]:
    """The processes that read slides just now."""
    assert reader.host_pid is not None
    return psutil.Process(reader.host_pid).children(recursive=True)


def started(reader: Reader, path: Path) -> tuple[Any, psutil.Process]:
    """A reading stopped after its first batch, and its process, which waits for the pipe."""
    events = reader.read(path, SMALL_TILES)
    next(event for event in events if isinstance(event, TileBatch))
    (child,) = children(reader)
    return events, child


def scratch_files(reader: Reader) -> list[Path]:
    return list(reader.limits.scratch.rglob("*"))
