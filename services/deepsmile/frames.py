"""Frames: what the reader process says to the one that scores, over a pipe.

A frame is a header of two sizes, a JSON object with its `kind`, and a payload of pixels.
The pipe is the queue: the reader stops when it is full.
"""

import json
import os
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from deepsmile.contract import FeatureContract

HEADER = Struct("<II")
"""Sizes of a frame's JSON and payload, bytes."""
STATUS = Struct("<i")
"""How a forked reader ended: exit code, or minus the signal."""
MAX_REQUEST_BYTES = 1 << 16


class Strict(BaseModel):
    """No unknown keys; NaN stays NaN on the way, lest it arrive as null."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ReadRequest(Strict):
    """What to read, and within which limits."""

    path: str
    scratch: str
    contract: FeatureContract
    mpp: float | None
    """Microns per pixel of level 0 from the request; overrides the file's."""
    batch: int
    """Tiles per batch; 0: stop after the plan."""
    overview: bool
    """Whether the plan brings the overview image along."""
    memory_bytes: int
    cpu_s: int
    reserve_bytes: int = 0
    """Space that unpacking a zip must leave free."""


class SlideFacts(Strict):
    """What the reader says of a slide, before any judgement."""

    reader: str
    reader_note: str
    format: str
    levels: tuple[tuple[int, int], ...]
    """(width, height) px, finest first."""
    mpp_stated: tuple[float, float] | None
    """(x, y) um per px of level 0 as the file states it."""
    mpp_stated_by: str | None


class PlanFacts(Strict):
    """The tile plan, as numbers."""

    mpp: tuple[float, float]
    """(x, y) um per px of level 0 that was believed."""
    mpp_source: str
    level: int
    level_mpp: tuple[float, float]
    columns: int
    rows: int
    origin_l0: tuple[float, float]
    step_l0: tuple[float, float]
    """(x, y) edge of a tile, level-0 px."""
    candidates: int
    """Tiles that the overview does not rule out."""
    glass_grey: int


class ReadCount(Strict):
    """What reading came to."""

    decoded: int
    kept: int
    cpu_s: float
    reader_note: str
    """As in `SlideFacts`, now with what happened on the way."""


@dataclass(frozen=True)
class Frame:
    """One message."""

    kind: str
    body: dict[str, Any]
    payload: NDArray[np.uint8]
    """(n,) bytes, perhaps none"""


def write_frame(fd: int, kind: str, body: dict[str, Any], payload: memoryview) -> None:
    """Write a frame whole; blocks while the pipe is full. The payload is flat bytes."""
    text = json.dumps({"kind": kind, **body}).encode()
    _write_all(fd, memoryview(HEADER.pack(len(text), payload.nbytes) + text))
    _write_all(fd, payload)


def _write_all(fd: int, data: memoryview) -> None:
    while data.nbytes:
        data = data[os.write(fd, data) :]
