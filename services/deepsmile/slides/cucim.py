"""cuCIM: the fast reader, for tiled 8-bit RGB TIFF (Aperio, Philips, OME, generic)."""

import os
import re
import tempfile
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from deepsmile.errors import SlideCorrupt
from deepsmile.slides.slide import RGB, Level, Mpp, Slide, clip, paste_on_white

COMPLAINT = re.compile(r"ERROR|[Cc]orrupt|[Ff]ail")
"""What cuCIM and the codecs below it print when they return pixels that are none."""


class CucimSlide:
    """A slide through cuCIM; falls back to `second_opinion` where cuCIM complains.

    cuCIM raises nothing for an undecodable JPEG tile: it prints to stderr and returns stale
    memory, perhaps of another slide. So stderr is watched around each read, and such a region
    is read again by OpenSlide, which raises. One reading thread per process.
    """

    def __init__(
        self, path: Path, format_: str, mpp: Mpp | None, second_opinion: Callable[[], Slide]
    ) -> None:
        import cucim
        from cucim.clara import CuImage

        try:
            self._image: Any = CuImage(str(path))
        except (RuntimeError, ValueError) as error:
            raise SlideCorrupt(f"cuCIM cannot open it: {error}") from error
        self.reader = f"cucim {cucim.__version__}"
        self.reader_note = ""
        self.format = format_
        self.mpp = mpp
        resolutions = self._image.resolutions
        self.levels = tuple(Level(int(w), int(h)) for w, h in resolutions["level_dimensions"])
        self._downsamples = [float(d) for d in resolutions["level_downsamples"]]
        self._second_opinion = second_opinion
        self._doubted: Slide | None = None

    def read(self, level: int, x: int, y: int, width: int, height: int) -> RGB:
        window = clip(self.levels[level], x, y, width, height)
        if window is None:
            return paste_on_white(None, None, width, height)
        if self._doubted is not None:
            return self._doubted.read(level, x, y, width, height)
        # cuCIM truncates x0 / downsample: the ceiling of k * downsample is level pixel k exactly.
        downsample = self._downsamples[level]
        location = (ceil(window.x * downsample), ceil(window.y * downsample))
        complaints = _StderrWatch()
        with complaints:
            try:
                region = self._image.read_region(location, (window.width, window.height), level)
                pixels: RGB = np.asarray(region)
            except (RuntimeError, ValueError) as error:
                complaints.add(f"ERROR {error}")
        if COMPLAINT.search(complaints.text):
            self.reader_note = f"cuCIM failed on a tile: {complaints.text.strip()[:200]}"
            self._doubted = self._second_opinion()
            return self._doubted.read(level, x, y, width, height)
        return paste_on_white(pixels, window, width, height)

    def close(self) -> None:
        self._image.close()
        if self._doubted is not None:
            self._doubted.close()


class _StderrWatch:
    """Collects what the process writes to file descriptor 2 inside the `with` block."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str) -> None:
        self.text += text + "\n"

    def __enter__(self) -> None:
        self._file = tempfile.TemporaryFile()
        self._saved = os.dup(2)
        os.dup2(self._file.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)
        self._file.seek(0)
        self.text += self._file.read().decode(errors="replace")
        self._file.close()
