"""Pyramid: which level serves a resolution, and the one way from its pixels to a tile's.

Each tile is cut from whole level pixels and resampled alone, so its pixels depend on nothing
but the slide and the contract: neither on its neighbours nor on how many are read at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile.contract import PixelRule
from deepsmile.errors import MppTooCoarse
from deepsmile.grid import Grid
from deepsmile.slides.slide import RGB, Level, Slide

MAX_BLOCK_PX = 1100
"""Side of the largest region read at once; larger ones cost more in page faults than they save."""

ROUNDING_PX = 2
"""How far the sides of a level may be from those of level 0 divided by one number."""

Cells = NDArray[np.int32]
"""Tile positions (N, 2) as (column, row)."""


@dataclass(frozen=True)
class Cutter:
    """How tiles of `size_px` are cut from one level of one slide."""

    grid: Grid
    level: int
    downsample: tuple[float, float]
    """(x, y) level-0 px per level px."""
    crop_px: tuple[int, int]
    """(x, y) level px that become one tile."""
    size_px: int

    @property
    def block(self) -> tuple[int, int]:
        """(columns, rows) of tiles that are worth reading at once."""
        return max(MAX_BLOCK_PX // self.crop_px[0], 1), max(MAX_BLOCK_PX // self.crop_px[1], 1)

    def corner(self, column: int, row: int) -> tuple[int, int]:
        """First level pixel (x, y) of a tile; at most half a pixel from its true corner."""
        x = (self.grid.origin_l0[0] + column * self.grid.step_l0[0]) / self.downsample[0]
        y = (self.grid.origin_l0[1] + row * self.grid.step_l0[1]) / self.downsample[1]
        return floor(x + 0.5), floor(y + 0.5)


def make_cutter(slide: Slide, grid: Grid, size_px: int, rule: PixelRule) -> Cutter:
    """Choose the coarsest level that is fine enough for tiles of `size_px`, and the crop on it.

    Raises:
        MppTooCoarse: level 0 is coarser than the tiles and the contract forbids enlarging.
    """
    base = slide.levels[0]
    scale = min(grid.step_l0) / size_px  # level-0 px per tile px
    chosen = 0
    for index, level in enumerate(slide.levels):
        coarseness = max(base.width / level.width, base.height / level.height)
        if coarseness <= scale * rule.level_tolerance and _same_picture(base, level):
            chosen = index
    if scale * rule.level_tolerance < 1 and not rule.upsample:
        finest, needed = max(grid.mpp.x, grid.mpp.y), max(grid.mpp.x, grid.mpp.y) * scale
        raise MppTooCoarse(f"the slide has {finest:g} um per px, the model needs {needed:.4g}")
    level = slide.levels[chosen]
    downsample = (base.width / level.width, base.height / level.height)
    crop_x = _crop(grid.step_l0[0] / downsample[0], size_px)
    crop_y = _crop(grid.step_l0[1] / downsample[1], size_px)
    return Cutter(grid, chosen, downsample, (crop_x, crop_y), size_px)


def _same_picture(base: Level, level: Level) -> bool:
    """Whether a level has the proportions of level 0; a label among the levels has not."""
    width = level.height * base.width / base.height
    height = level.width * base.height / base.width
    return min(abs(level.width - width), abs(level.height - height)) <= ROUNDING_PX


def cut(slide: Slide, cutter: Cutter, cells: Cells) -> Iterator[tuple[Cells, RGB]]:
    """Read the tiles at `cells`, block by block: (n, 2) cells and (n, size, size, 3) pixels.

    Blocks come in reading order, and so do the tiles inside a block.
    """
    columns, rows = cutter.block
    keys = np.stack([cells[:, 1] // rows, cells[:, 0] // columns, cells[:, 1], cells[:, 0]])
    ordered = cells[np.lexsort(keys[::-1])]  # (N, 2)
    block_of = np.stack([ordered[:, 1] // rows, ordered[:, 0] // columns], axis=1)  # (N, 2)
    starts = np.flatnonzero(np.any(np.diff(block_of, axis=0, prepend=-1) != 0, axis=1))
    for some in np.split(ordered, starts[1:]) if len(ordered) else ():
        yield some, _cut_block(slide, cutter, some)


def _cut_block(slide: Slide, cutter: Cutter, cells: Cells) -> RGB:
    first, last = cells.min(axis=0), cells.max(axis=0)
    left, top = cutter.corner(*first)
    right, bottom = cutter.corner(*last)
    crop_x, crop_y = cutter.crop_px
    region = slide.read(cutter.level, left, top, right - left + crop_x, bottom - top + crop_y)
    tiles = np.empty((len(cells), cutter.size_px, cutter.size_px, 3), np.uint8)  # (n, s, s, 3)
    for tile, (column, row) in zip(tiles, cells.tolist(), strict=True):
        x, y = cutter.corner(column, row)
        crop = region[y - top : y - top + crop_y, x - left : x - left + crop_x]
        resample(crop, tile)
    return tiles


def _crop(edge_px: float, size_px: int) -> int:
    """Level px per tile: the nearest number that halves evenly down to less than twice the tile."""
    halvings = 0
    while edge_px / 2 ** (halvings + 1) >= size_px:
        halvings += 1
    return int(max(floor(edge_px / 2**halvings + 0.5), 1) * 2**halvings)


def resample(crop: RGB, out: RGB) -> None:
    """Shrink `crop` to `out`, both (h, w, 3): means of 2 x 2, then one bilinear step.

    The same pixels from a slide whose pyramid holds only 0.25, or also 0.5 or 1 um per px:
    33.0 dB from exact area integration each time, at 0.1 to 0.5 ms (docs/decisions.md).
    """
    height, width = out.shape[:2]
    while crop.shape[0] >= 2 * height and crop.shape[1] >= 2 * width:
        half = (crop.shape[1] // 2, crop.shape[0] // 2)
        crop = cv2.resize(crop, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    cv2.resize(crop, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
