"""A model that is slow: ours, kept waiting by what is written in the folder `delays`.

Each `*.delay` there holds one answer back, and `pace` every one.

Triton's stub runs this file, as the model of the backend "python".
"""

import importlib.util
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOLDER = HERE.parents[2] / "delays"  # a change within the repository would be a new version
PACE = FOLDER / "pace"
_spec = importlib.util.spec_from_file_location("ours", (HERE / "ours.txt").read_text())
assert _spec is not None
assert _spec.loader is not None
ours = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ours)


class TritonPythonModel(ours.TritonPythonModel):  # type: ignore[name-defined,misc]
    """Computes first and answers after the delay, as a server that was cut off would."""

    def execute(self, requests: list[Any]) -> list[Any]:
        answers: list[Any] = super().execute(requests)
        time.sleep(next_delay_s())
        return answers


def next_delay_s() -> float:
    """Take the next delay; instances may ask at once."""
    for file in sorted(FOLDER.glob("*.delay")):
        delay_s = float(file.read_text())
        try:
            file.unlink()
        except FileNotFoundError:
            continue
        return delay_s
    return float(PACE.read_text()) if PACE.exists() else 0.0
