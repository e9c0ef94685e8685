"""Tissue: which tiles hold some, judged first on a small overview and then on the tiles."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile.contract import (
    FeatureContract,
    FesiLike,
    Fu2020,
    GlassRule,
    GreySobel,
    HEStain,
    KeepAll,
    StainRule,
    TissueRule,
)
from deepsmile.errors import NotHE
from deepsmile.grid import Grid
from deepsmile.pyramid import Cells, cut, make_cutter
from deepsmile.slides.slide import RGB, WHITE, Slide

Mask = NDArray[np.bool_]
"""One truth per tile of the grid, (rows, columns)."""
Shares = NDArray[np.float64]
GreyImage = NDArray[np.uint8]

MIN_STAINED_PX = 64
"""Fewer stained pixels than this say nothing about the stain."""


@dataclass(frozen=True)
class Overview:
    """The whole grid at `tile_px` per tile: 3 kB a tile, 307 MB for a grid of `MAX_TILES`."""

    image: RGB
    """(rows * tile_px, columns * tile_px, 3)"""
    tile_px: int

    def shares(self, pixels: Mask) -> Shares:
        """Share of true pixels in each tile: (rows * t, columns * t) -> (rows, columns)."""
        t = self.tile_px
        rows, columns = pixels.shape[0] // t, pixels.shape[1] // t
        shares: Shares = pixels.reshape(rows, t, columns, t).mean(axis=(1, 3))
        return shares


@dataclass(frozen=True)
class Tissue:
    """What the overview tells about a slide."""

    candidates: Mask
    """Tiles worth decoding, (rows, columns)."""
    glass_grey: int
    """Grey of bare glass; 255 where none was found or the rule does not ask."""


def all_cells(grid: Grid) -> Cells:
    """Every (column, row) of the grid, (N, 2), row by row."""
    rows, columns = np.divmod(np.arange(grid.size, dtype=np.int32), max(grid.columns, 1))
    return np.stack([columns, rows], axis=1).astype(np.int32)


def read_overview(
    slide: Slide, grid: Grid, contract: FeatureContract, progress: Callable[[int, int], None]
) -> Overview:
    """Read the whole grid at low resolution, with the same cutter as the tiles.

    `progress` is told (tiles done, of all) after each block.
    """
    t = contract.overview.tile_px
    cutter = make_cutter(slide, grid, t, contract.pixels)
    done = 0
    image = np.empty((grid.rows * t, grid.columns * t, 3), np.uint8)  # (rows t, columns t, 3)
    for cells, tiles in cut(slide, cutter, all_cells(grid)):
        for (column, row), tile in zip(cells.tolist(), tiles, strict=True):
            image[row * t : (row + 1) * t, column * t : (column + 1) * t] = tile
        done += len(cells)
        progress(done, grid.size)
    return Overview(image, t)


def find_tissue(overview: Overview, contract: FeatureContract) -> Tissue:
    """Candidate tiles and glass level of a slide.

    Raises:
        NotHE: the overview is not brightfield, or its colours are not those of H&E.
    """
    if not overview.image.size:  # the slide is smaller than a tile
        return Tissue(overview.shares(np.zeros(overview.image.shape[:2], np.bool_)) > 0, WHITE)
    check_brightfield(overview, contract.stain)
    rule = contract.tissue
    grey = to_grey(overview.image)
    glass = find_glass(grey, rule.glass) if isinstance(rule, GreySobel) and rule.glass else WHITE
    candidates = _candidates(overview, grey, contract, glass)
    check_stain(overview, candidates, contract.stain)
    return Tissue(candidates, glass)


def is_tissue(tile: RGB, rule: TissueRule, glass_grey: int) -> bool:
    """The exact rule on one decoded tile (h, w, 3); FESI and `none` decided on the overview."""
    if isinstance(rule, Fu2020):
        return _share(background(to_grey(tile), rule, glass_grey)) < rule.max_flat
    if not isinstance(rule, GreySobel):
        return True
    grey = to_grey(tile)
    bright = scale_to_glass(grey, glass_grey) > rule.grey
    if _share(bright) <= rule.max_background:
        return True  # background pixels are bright ones, so the gradient cannot matter
    return _share(background(grey, rule, glass_grey)) <= rule.max_background


def to_grey(image: RGB) -> GreyImage:
    """ITU-R BT.601 luma, (h, w)."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def gradient(grey: GreyImage) -> GreyImage:
    """0.5 |dx| + 0.5 |dy| of 3 x 3 Sobel, (h, w), as Fu et al. 2020's code has it."""
    dx = cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_16S, 1, 0))  # (h, w)
    dy = cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_16S, 0, 1))  # (h, w)
    return cv2.addWeighted(dx, 0.5, dy, 0.5, 0).astype(np.uint8, copy=False)


def background(grey: GreyImage, rule: GreySobel | Fu2020, glass_grey: int) -> Mask:
    """Background pixels of a grey image, (h, w)."""
    if isinstance(rule, Fu2020):
        return gradient(grey) <= rule.gradient
    scaled = scale_to_glass(grey, glass_grey)
    return (scaled > rule.grey) & (gradient(scaled) <= rule.gradient)


def scale_to_glass(grey: GreyImage, glass_grey: int) -> GreyImage:
    """Scale grey so that the slide's own glass becomes 255, (h, w)."""
    if glass_grey == WHITE:
        return grey
    table = np.minimum(np.arange(256) * WHITE / glass_grey + 0.5, WHITE).astype(np.uint8)
    return cv2.LUT(grey, table).astype(np.uint8, copy=False)


def _share(mask: Mask) -> float:
    return np.count_nonzero(mask) / max(mask.size, 1)


def find_glass(grey: GreyImage, rule: GlassRule) -> int:
    """Mode of the bright greys, filler left out; 255 when too few pixels stand at it."""
    counts = np.bincount(grey.ravel(), minlength=256)  # (256,)
    counts[WHITE] -= np.count_nonzero(filler(grey))
    first = int(np.ceil(rule.min_grey))
    mode = first + int(np.argmax(counts[first:]))
    share = counts[max(mode - 2, first) : mode + 3].sum() / max(counts.sum(), 1)
    return mode if share >= rule.min_share else WHITE


def filler(grey: GreyImage) -> Mask:
    """Pixels that were never scanned, (h, w): exactly 255, as all their neighbours are."""
    if not grey.size:
        return np.zeros(grey.shape, np.bool_)
    white = (grey == WHITE).astype(np.uint8)  # (h, w)
    return cv2.erode(white, np.ones((3, 3), np.uint8)).astype(np.bool_)


def _candidates(overview: Overview, grey: GreyImage, contract: FeatureContract, glass: int) -> Mask:
    rule = contract.tissue
    if isinstance(rule, KeepAll):
        return overview.shares(grey >= 0) > 0
    dark = _dark_tiles(overview, grey, contract.stain)
    if isinstance(rule, FesiLike):
        return ~dark & (overview.shares(fesi_foreground(grey, rule)) >= rule.min_foreground)
    shares = overview.shares(background(grey, rule, glass))
    return ~dark & (shares <= rule.overview_max_background)


def _dark_tiles(overview: Overview, grey: GreyImage, rule: StainRule) -> Mask:
    """Tiles too dark to be brightfield, by the rule for whole slides: black filler, mostly."""
    if not isinstance(rule, HEStain):
        return overview.shares(grey < 0) > 0
    return overview.shares(grey < rule.dark_grey) > rule.max_dark


def fesi_foreground(grey: GreyImage, rule: FesiLike) -> Mask:
    """Foreground pixels, (h, w): blurred |Laplacian| above its mean, closed, holes filled."""
    if not grey.size:
        return np.zeros(grey.shape, np.bool_)
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F))  # (h, w)
    smooth = cv2.GaussianBlur(edges, (0, 0), rule.blur_px)  # (h, w)
    mask = (smooth > smooth.mean()).astype(np.uint8)  # (h, w)
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros(grey.shape, np.uint8)  # (h, w)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return filled.astype(np.bool_)


def check_brightfield(overview: Overview, rule: StainRule) -> None:
    """Raises NotHE when most of the overview is dark, as in fluorescence."""
    if not isinstance(rule, HEStain):
        return
    dark = float((to_grey(overview.image) < rule.dark_grey).mean())
    if dark > rule.max_dark:
        raise NotHE(f"{dark:.0%} of the slide is dark: not brightfield")


def check_stain(overview: Overview, candidates: Mask, rule: StainRule) -> None:
    """Raises NotHE when the candidate tiles' stained pixels are not blue-violet to pink."""
    if not isinstance(rule, HEStain) or not candidates.any():
        return
    share = he_share(overview, candidates, rule)
    if share is not None and share < rule.min_share:
        raise NotHE(f"only {share:.0%} of the stained pixels have a hue of H&E")


def he_share(overview: Overview, candidates: Mask, rule: HEStain) -> float | None:
    """Share of stained candidate pixels with a hue of H&E; None when hardly any are stained."""
    stained = in_range = 0
    for row in np.flatnonzero(candidates.any(axis=1)):
        band = overview.image[row * overview.tile_px : (row + 1) * overview.tile_px]
        hsv = cv2.cvtColor(band.astype(np.float32) / WHITE, cv2.COLOR_RGB2HSV)  # (t, w, 3)
        inside = np.repeat(candidates[row], overview.tile_px)  # (w,)
        mask = (hsv[..., 1] > rule.min_saturation) & (to_grey(band) > rule.dark_grey) & inside
        low, high = rule.hue_deg
        stained += int(mask.sum())
        in_range += int((mask & (hsv[..., 0] >= low) & (hsv[..., 0] <= high)).sum())
    return in_range / stained if stained >= MIN_STAINED_PX else None
