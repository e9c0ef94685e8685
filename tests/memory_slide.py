"""A slide in memory: the `Slide` protocol over arrays, for tests of what comes after readers."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile.slides.slide import RGB, Level, Mpp, clip, paste_on_white


@dataclass
class MemorySlide:
    """Levels as arrays (h, w, 3), finest first; notes every region that is read."""

    images: list[NDArray[np.uint8]]
    mpp: Mpp | None = field(default_factory=lambda: Mpp(0.5, 0.5, "memory"))
    reader: str = "memory"
    reader_note: str = ""
    format: str = "memory"
    reads: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    @property
    def levels(self) -> tuple[Level, ...]:
        return tuple(Level(image.shape[1], image.shape[0]) for image in self.images)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> RGB:
        self.reads.append((level, x, y, width, height))
        window = clip(self.levels[level], x, y, width, height)
        if window is None:
            return paste_on_white(None, None, width, height)
        rows = slice(window.y, window.y + window.height)
        columns = slice(window.x, window.x + window.width)
        return paste_on_white(self.images[level][rows, columns], window, width, height)

    def close(self) -> None:
        """Nothing to close."""


def pyramid_of(image: NDArray[np.uint8], halvings: tuple[int, ...]) -> list[NDArray[np.uint8]]:
    """Levels of an image (h, w, 3), each made by so many halvings, as scanners make them."""
    levels = []
    for times in halvings:
        level = image
        for _ in range(times):
            size = (level.shape[1] // 2, level.shape[0] // 2)
            level = cv2.resize(level, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        levels.append(level)
    return levels
