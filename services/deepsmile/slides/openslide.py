"""OpenSlide: the reader for what cuCIM cannot (NDPI, MRXS, SCN, BIF, DICOM, odd TIFFs)."""

from pathlib import Path

import numpy as np
import openslide

from deepsmile.errors import SlideCorrupt, SlideUnsupported
from deepsmile.slides.slide import RGB, WHITE, Level, Mpp, clip, paste_on_white


class OpenSlideSlide:
    """A slide through OpenSlide; transparent pixels become white.

    OpenSlide interpolates where a level's downsample is no integer (level 1 of a 4443 px wide
    slide is 2.0005): there its pixels differ a little from the stored ones, positions do not.
    """

    def __init__(self, path: Path, mpp: Mpp | None, note: str) -> None:
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise SlideUnsupported(f"{note}; no reader knows this format") from error
        except openslide.OpenSlideError as error:
            raise SlideUnsupported(f"{note}; OpenSlide refuses it: {error}") from error
        properties = self._slide.properties
        self.reader = f"openslide {openslide.__library_version__}"
        self.reader_note = note
        self.format = properties[openslide.PROPERTY_NAME_VENDOR]
        self.mpp = mpp or _mpp(properties.get("openslide.mpp-x"), properties.get("openslide.mpp-y"))
        self.levels = tuple(Level(w, h) for w, h in self._slide.level_dimensions)
        self._downsamples = self._slide.level_downsamples

    def read(self, level: int, x: int, y: int, width: int, height: int) -> RGB:
        window = clip(self.levels[level], x, y, width, height)
        if window is None:
            return paste_on_white(None, None, width, height)
        downsample = self._downsamples[level]
        location = (round(window.x * downsample), round(window.y * downsample))
        try:
            region = self._slide.read_region(location, level, (window.width, window.height))
        except openslide.OpenSlideError as error:
            raise SlideCorrupt(f"a tile of level {level} cannot be decoded: {error}") from error
        return paste_on_white(_on_white(np.asarray(region)), window, width, height)

    def close(self) -> None:
        self._slide.close()


def dicom_series(path: Path) -> str:
    """The series that a DICOM file, alone in its folder, is a slide of; "" where it is none.

    Labels, overviews and annotations are no slides by themselves.
    """
    try:
        with openslide.OpenSlide(path) as slide:
            return slide.properties["dicom.SeriesInstanceUID"]
    except openslide.OpenSlideError:
        return ""


def _on_white(rgba: RGB) -> RGB:
    """Composite (h, w, 4) RGBA on white, (h, w, 3)."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == WHITE:
        return np.ascontiguousarray(rgb)
    weight = alpha.astype(np.uint32)  # (h, w, 1)
    blended = (rgb * weight + WHITE * (WHITE - weight) + WHITE // 2) // WHITE
    return blended.astype(np.uint8)


def _mpp(x: str | None, y: str | None) -> Mpp | None:
    return Mpp(float(x), float(y), "openslide") if x and y else None
