"""Tiles: a plan of coordinates first, then the pixels of those that hold tissue."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepsmile.contract import Budget, FeatureContract
from deepsmile.grid import Grid, lay_grid, resolve_mpp
from deepsmile.pyramid import Cells, Cutter, cut, make_cutter
from deepsmile.slides.slide import RGB, Slide
from deepsmile.tissue import Overview, Tissue, find_tissue, is_tissue, read_overview


@dataclass(frozen=True)
class TilePlan:
    """Where the tiles lie and which are worth decoding; no pixels but the overview's."""

    cutter: Cutter
    tissue: Tissue
    overview: Overview
    candidates: Cells
    """(N, 2) cells that the overview does not rule out, in the order of the budget."""
    budget: Budget

    @property
    def grid(self) -> Grid:
        return self.cutter.grid


@dataclass(frozen=True)
class TileBatch:
    """Tissue tiles and where they lie."""

    cells: Cells
    """(B, 2) column and row."""
    pixels: RGB
    """(B, size, size, 3) uint8"""
    to_come: int
    """At most so many tiles follow."""


@dataclass
class TileCount:
    """Filled while tiles are read."""

    decoded: int = 0
    kept: int = 0


@dataclass
class _Regroup:
    """Gathers kept tiles into batches of a fixed size."""

    size: int
    cells: list[NDArray[np.int32]] = field(default_factory=list)
    pixels: list[RGB] = field(default_factory=list)

    def add(self, cell: NDArray[np.int32], tile: RGB) -> bool:
        """True when the batch is full."""
        self.cells.append(cell)
        self.pixels.append(tile)
        return len(self.cells) == self.size

    def flush(self, to_come: int) -> TileBatch:
        batch = TileBatch(np.stack(self.cells), np.stack(self.pixels), to_come)
        self.cells, self.pixels = [], []
        return batch


def plan_tiles(
    slide: Slide,
    contract: FeatureContract,
    requested_mpp: float | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TilePlan:
    """Lay the grid, look at the overview, choose the level.

    Raises:
        Abstention: no believable mpp, too coarse, or not H&E.
        SlideError: too large, or undecodable.
    """
    mpp = resolve_mpp(slide.mpp, requested_mpp, contract.mpp)
    grid = lay_grid(slide.levels[0], mpp, contract.tile)
    cutter = make_cutter(slide, grid, contract.tile.size_px, contract.pixels)
    overview = read_overview(slide, grid, contract, progress)
    tissue = find_tissue(overview, contract)
    rows, columns = np.nonzero(tissue.candidates)
    cells = np.stack([columns, rows], axis=1).astype(np.int32)  # (N, 2)
    ordered = in_budget_order(cells, contract.budget)
    return TilePlan(cutter, tissue, overview, ordered, contract.budget)


def read_tiles(
    slide: Slide, plan: TilePlan, contract: FeatureContract, batch: int, count: TileCount
) -> Iterator[TileBatch]:
    """Decode the candidates, keep those with tissue, hand them on in batches of `batch`.

    With a tile budget the candidates are decoded in their seeded order, as many at a time as
    are still missing, so that the choice does not depend on how they are read.
    """
    regroup = _Regroup(batch)
    limit = plan.budget.max_tiles or len(plan.candidates)
    remaining = plan.candidates
    while len(remaining) and count.kept < limit:
        missing = limit - count.kept
        some, remaining = remaining[:missing], remaining[missing:]
        for cell, tile in _one_by_one(cut(slide, plan.cutter, some)):
            count.decoded += 1
            if is_tissue(tile, contract.tissue, plan.tissue.glass_grey):
                count.kept += 1
                if regroup.add(cell, tile):
                    undecided = len(plan.candidates) - count.decoded
                    yield regroup.flush(to_come=min(limit - count.kept, undecided))
    if regroup.cells:
        yield regroup.flush(to_come=0)


def _one_by_one(
    blocks: Iterator[tuple[Cells, RGB]],
) -> Iterator[tuple[NDArray[np.int32], RGB]]:
    for cells, pixels in blocks:
        yield from zip(cells, pixels, strict=True)


def in_budget_order(cells: Cells, budget: Budget) -> Cells:
    """Reading order without a budget; with one, a seeded order that no library can change."""
    if budget.max_tiles is None:
        return cells
    return cells[np.argsort(_mixed(cells, budget.seed), kind="stable")]


def _mixed(cells: Cells, seed: int) -> NDArray[np.uint64]:
    """SplitMix64 of (seed, row, column), (N,): a fixed pseudo-random key per tile."""
    mask = 0xFFFF_FFFF_FFFF_FFFF
    start = np.uint64(seed * 0x9E37_79B9_7F4A_7C15 & mask)
    z = (cells[:, 1].astype(np.uint64) << np.uint64(32)) + cells[:, 0].astype(np.uint64) + start
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return z ^ (z >> np.uint64(31))
