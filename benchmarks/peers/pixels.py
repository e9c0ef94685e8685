"""Pixels: why two tools' features of one tile differ, found by making the same pixels.

Whatever a tool reads from and however it shrinks, the candidates here do one of them each; the
one that comes nearest to the pixels its network was given names the level and the kernel.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openslide
from PIL import Image

from benchmarks.peers.places import psnr_db
from benchmarks.peers.protocol import TILE_PX, TILE_UM, Corners
from deepsmile.pyramid import resample
from deepsmile.slides.slide import RGB

FINE_ENOUGH = 1.02
"""A level is read from up to this much coarser than the tiles."""


@dataclass(frozen=True)
class Candidate:
    """One way from a slide to tiles."""

    level: int
    kernel: str
    tiles: RGB

    def __str__(self) -> str:
        return f"level {self.level}, {self.kernel}"


def _ours(crop: RGB) -> RGB:
    tile = np.empty((TILE_PX, TILE_PX, 3), np.uint8)  # (224, 224, 3)
    resample(crop, tile)
    return tile


def _opencv(how: int) -> Callable[[RGB], RGB]:
    return lambda crop: cv2.resize(crop, (TILE_PX, TILE_PX), interpolation=how)


def _pillow(how: Image.Resampling) -> Callable[[RGB], RGB]:
    """These widen their kernel by the factor of shrinking: antialiased."""
    return lambda crop: np.asarray(Image.fromarray(crop).resize((TILE_PX, TILE_PX), how))


OURS = "halved, then bilinear (ours)"
KERNELS: dict[str, Callable[[RGB], RGB]] = {
    OURS: _ours,
    "nearest": _opencv(cv2.INTER_NEAREST),
    "bilinear": _opencv(cv2.INTER_LINEAR),
    "bicubic": _opencv(cv2.INTER_CUBIC),
    "Lanczos": _opencv(cv2.INTER_LANCZOS4),
    "area": _opencv(cv2.INTER_AREA),
    "bilinear, antialiased": _pillow(Image.Resampling.BILINEAR),
    "bicubic, antialiased": _pillow(Image.Resampling.BICUBIC),
    "Lanczos, antialiased": _pillow(Image.Resampling.LANCZOS),
}


def candidates(
    slide: Path, corners: Corners, kernels: Iterable[str] = tuple(KERNELS)
) -> Iterator[Candidate]:
    """Every kernel on every level that is fine enough, finest first, tiles at `corners` (N, 2)."""
    with openslide.OpenSlide(slide) as opened:
        mpp = float(opened.properties[openslide.PROPERTY_NAME_MPP_X])
        for level, downsample in enumerate(opened.level_downsamples):
            if mpp * downsample > FINE_ENOUGH * TILE_UM / TILE_PX:
                return
            crops = _crops(opened, level, round(TILE_UM / mpp / downsample), corners)
            for kernel in kernels:
                tiles = np.stack([KERNELS[kernel](crop) for crop in crops])  # (N, 224, 224, 3)
                yield Candidate(level, kernel, tiles)


def _crops(opened: openslide.OpenSlide, level: int, side: int, corners: Corners) -> list[RGB]:
    """The tiles as they are on a level, (side, side, 3) each."""
    places = [(round(x), round(y)) for x, y in corners.tolist()]
    regions = (opened.read_region(place, level, (side, side)) for place in places)
    return [np.ascontiguousarray(np.asarray(region)[:, :, :3]) for region in regions]


def nearest(slide: Path, corners: Corners, pixels: RGB) -> tuple[Candidate, float]:
    """The candidate most like `pixels` (N, 224, 224, 3), and how like, in dB."""
    tried = ((one, psnr_db(one.tiles, pixels)) for one in candidates(slide, corners))
    return max(tried, key=lambda found: found[1])
