"""Slide: what a reader gives; pixels of a pyramid level, as they are stored."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
"""Pixels, (height, width, 3), sRGB as stored."""

WHITE = 255


@dataclass(frozen=True)
class Level:
    """One level of the pyramid, px."""

    width: int
    height: int


@dataclass(frozen=True)
class Mpp:
    """Microns per pixel of level 0, not yet believed, and where they come from."""

    x: float
    y: float
    source: str


class Slide(Protocol):
    """A slide, open for reading by one thread."""

    reader: str
    """Library and version, e.g. "cucim 26.10.0"."""
    reader_note: str
    """Why this reader and not cuCIM; empty for cuCIM."""
    format: str
    """Layout of the file, e.g. "aperio"."""
    levels: tuple[Level, ...]
    """From finest to coarsest; never empty."""
    mpp: Mpp | None

    def read(self, level: int, x: int, y: int, width: int, height: int) -> RGB:
        """Pixels (height, width, 3) of a level, in that level's own coordinates; white outside.

        Raises:
            SlideCorrupt: a tile under the region cannot be decoded.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class Window:
    """The part of a requested region that lies on the level."""

    x: int
    y: int
    width: int
    height: int
    left: int
    top: int


def clip(level: Level, x: int, y: int, width: int, height: int) -> Window | None:
    """Clip a region to the level; None when nothing of it is left."""
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + width, level.width), min(y + height, level.height)
    if x1 <= x0 or y1 <= y0:
        return None
    return Window(x0, y0, x1 - x0, y1 - y0, x0 - x, y0 - y)


def paste_on_white(pixels: RGB | None, window: Window | None, width: int, height: int) -> RGB:
    """Put a clipped region's pixels back at their place in the region; the rest is white."""
    if window is not None and pixels is not None and pixels.shape == (height, width, 3):
        return pixels
    canvas = np.full((height, width, 3), WHITE, np.uint8)  # (height, width, 3)
    if window is not None and pixels is not None:
        bottom, right = window.top + window.height, window.left + window.width
        canvas[window.top : bottom, window.left : right] = pixels
    return canvas
