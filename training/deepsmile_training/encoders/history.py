"""History: what a training run tells of the encoder that it left."""

import json
import math
from pathlib import Path
from typing import Any

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile_training.pretraining.logbook import read_log

POINTS = 12
"""At most, evenly spaced over the loss curve."""


def history_of(checkpoint: Path) -> dict[str, Any] | None:
    """`encoder.json` beside `encoder.pt`, with the run's loss curve until then; None without one.

    Raises:
        RequestInvalid: it is of another checkpoint, or damaged.
    """
    beside = checkpoint.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        told: dict[str, Any] = json.loads(beside.read_text())
        expected = told["encoder"]["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise RequestInvalid(f"{beside}: it tells of no encoder ({error})") from error
    found = digest_of_file(checkpoint)
    if found != expected:
        raise RequestInvalid(
            f"{checkpoint}: SHA-256 is {found}, {beside.name} beside it tells of {expected}",
            hint="Take both from the same run.",
        )
    return {**told, "loss_curve": _curve(checkpoint.parent, told.get("steps", math.inf))}


def _curve(folder: Path, steps: float) -> list[list[float]]:
    """(step, loss) of a run's log, which may have gone on after so many steps."""
    logged = [entry for entry in read_log(folder) if "loss" in entry]
    points = [[entry["step"], entry["loss"]] for entry in logged if entry["step"] <= steps]
    rows = min(POINTS, len(points))
    return [points[round(i * (len(points) - 1) / max(rows - 1, 1))] for i in range(rows)]
