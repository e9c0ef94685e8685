"""cuCIM: the fast reader, for tiled 8-bit RGB TIFF (Aperio, Philips, OME, generic)."""

import ctypes
import os
import re
import tempfile
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from deepsmile.errors import SlideCorrupt, SlideUnsupported
from deepsmile.slides.slide import RGB, Level, Mpp, Slide, clip, paste_on_white

C_LIBRARY = ctypes.CDLL(None)
COMPLAINT = re.compile(r"ERROR|[Cc]orrupt|[Ff]ail")
"""What cuCIM and the codecs below it print when they return pixels that are none."""
DAMAGE = re.compile(r"[Cc]orrupt|[Pp]remature end|decompression failed")
"""What they print when the pixels are made up; where they only gave up, OpenSlide may not."""
LAST_WORDS = 200


class CucimSlide:
    """A slide through cuCIM; falls back to `second_opinion` where cuCIM complains.

    cuCIM raises nothing for an undecodable JPEG tile: it prints, through C's buffered stdout,
    and returns stale memory, perhaps of another slide. So stdout and stderr are watched around
    each read, and such a region is read again by OpenSlide, which raises. One reading thread per
    process.
    """

    def __init__(
        self, path: Path, format_: str, mpp: Mpp | None, second_opinion: Callable[[], Slide]
    ) -> None:
        import cucim
        from cucim.clara import CuImage

        try:
            self._image: Any = CuImage(str(path))
        except (RuntimeError, ValueError) as error:
            raise SlideUnsupported(f"cuCIM cannot open it: {error}") from error
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
        complaints = _OutputWatch()
        with complaints:
            try:
                region = self._image.read_region(location, (window.width, window.height), level)
                pixels: RGB = np.asarray(region)
            except (RuntimeError, ValueError) as error:
                complaints.add(f"ERROR {error}")
        if COMPLAINT.search(complaints.text):
            self._doubted = self._ask_again(" ".join(complaints.text.split()))
            return self._doubted.read(level, x, y, width, height)
        return paste_on_white(pixels, window, width, height)

    def _ask_again(self, complaint: str) -> Slide:
        """The same slide through the other reader, if it sees the same levels."""
        self.reader_note = f"cuCIM failed on a tile: {complaint[:LAST_WORDS]}"
        if DAMAGE.search(complaint):
            raise SlideCorrupt(self.reader_note)
        try:
            other = self._second_opinion()
        except SlideUnsupported as error:
            raise SlideCorrupt(self.reader_note) from error
        if other.levels != self.levels:
            raise SlideCorrupt(self.reader_note)
        return other

    def close(self) -> None:
        self._image.close()
        if self._doubted is not None:
            self._doubted.close()


class _OutputWatch:
    """Collects what the process writes to its stdout and stderr inside the `with` block."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str) -> None:
        self.text += text + "\n"

    def __enter__(self) -> None:
        C_LIBRARY.fflush(None)  # what was said before is none of ours
        self._file = tempfile.TemporaryFile()
        self._saved = {fd: os.dup(fd) for fd in (1, 2)}
        for fd in self._saved:
            os.dup2(self._file.fileno(), fd)

    def __exit__(self, *_: object) -> None:
        C_LIBRARY.fflush(None)  # decoders printf, and a stdout that is no terminal is buffered
        for fd, saved in self._saved.items():
            os.dup2(saved, fd)
            os.close(saved)
        self._file.seek(0)
        self.text += self._file.read().decode(errors="replace")
        self._file.close()
