"""Logbook: what a run tells of itself, as JSON lines and for TensorBoard."""

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from deepsmile.disk import write_file
from deepsmile_training.pretraining.room import needing_room

NAME = "metrics.jsonl"


class Logbook:
    """One entry per logged step; those after the steps that a run has `taken` are dropped.

    Raises:
        StorageFull: in each method; an entry may then be there in part.
    """

    @needing_room("no room for the run's log")
    def __init__(self, folder: Path, taken: int) -> None:
        self._path = folder / NAME
        kept = [entry for entry in read_log(folder) if taken and entry["step"] <= taken]
        write_file(self._path, "".join(json.dumps(entry) + "\n" for entry in kept))
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=taken + 1 if taken else 0
        )

    @needing_room("no room for the run's log")
    def write(self, step: int, figures: dict[str, float]) -> None:
        """Add an entry."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    @needing_room("no room for the run's log")
    def __exit__(self, *_: object) -> None:
        self._board.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All entries, in order; a last line that a kill or a full disk cut off is none."""
    path = folder / NAME
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def summary_of(folder: Path) -> list[str]:
    """A run in a few lines."""
    entries = read_log(folder)
    steps = [entry for entry in entries if "loss" in entry]
    probes = [entry for entry in entries if "loss" not in entry]
    lines = _training(steps) if steps else []
    for name in probes[0] if probes else ():
        if name != "step":
            lines.append(f"{name} {probes[0][name]:.3f} at first, {probes[-1][name]:.3f} at last")
    return lines


def _training(steps: list[dict[str, Any]]) -> list[str]:
    first, last = steps[0], steps[-1]
    tiles_per_s, idle_share = _pace(steps)
    return [
        f"loss {first['loss']:.3f} at step {first['step']}, {last['loss']:.3f} at {last['step']}",
        f"feature std {last['feature_std']:.3f}, alignment {last['alignment']:.3f},"
        f" uniformity {last['uniformity']:.3f}",
        f"{tiles_per_s:.0f} tiles/s, idle for want of tiles {idle_share:.1%}",
    ]


def _pace(steps: list[dict[str, Any]]) -> tuple[float, float]:
    """Tiles per second and idle share of the whole run: entries count by the time they tell of."""
    taken = np.diff([0, *(entry["step"] for entry in steps)])  # (entries,) steps
    took = taken / np.array([entry["tiles_per_s"] for entry in steps])  # (entries,)
    idle = np.array([entry["idle_share"] for entry in steps])  # (entries,)
    return float(taken.sum() / took.sum()), float((idle * took).sum() / took.sum())
