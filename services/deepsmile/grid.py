"""Grid: where tiles lie on the slide, in level-0 coordinates, whichever reader serves it."""

from dataclasses import dataclass
from math import ceil, floor

from deepsmile.contract import MppRule, TileRule
from deepsmile.errors import MppMissing, RequestInvalid, SlideTooLarge
from deepsmile.slides.slide import Level, Mpp

MAX_TILES = 100_000
"""A grid of 256 um tiles over 81 x 81 mm; the largest whole-mount slides have half of it."""
REQUEST = "request"
"""Source of an mpp that came with the request."""
ROUNDING_TILES = 1e-6
"""Slack for 30720 / 1024.0000001 = 29.99...: the thirtieth tile is there."""


@dataclass(frozen=True)
class Grid:
    """Tile (column, row) covers level-0 px [origin + column * step, + step), and likewise in y."""

    columns: int
    rows: int
    origin_l0: tuple[float, float]
    """(x, y) of the first corner, level-0 px."""
    step_l0: tuple[float, float]
    """(x, y) edge of a tile, level-0 px; the tiles do not overlap."""
    mpp: Mpp
    """Of level 0."""

    @property
    def size(self) -> int:
        """Number of tiles."""
        return self.columns * self.rows


def resolve_mpp(found: Mpp | None, requested: float | None, rule: MppRule) -> Mpp:
    """The microns per pixel to go by: the request's if it gives one, else the file's.

    Raises:
        RequestInvalid: the request's value is outside the contract's bounds.
        MppMissing: neither is usable.
    """
    if requested is not None:
        if not rule.min <= requested <= rule.max:
            raise RequestInvalid(f"mpp {requested:g} is outside {rule.min:g} to {rule.max:g} um")
        return Mpp(requested, requested, REQUEST)
    if found is None:
        raise MppMissing("the file states no microns per pixel")
    inside = all(rule.min <= value <= rule.max for value in (found.x, found.y))
    if not inside or max(found.x / found.y, found.y / found.x) > rule.max_anisotropy:
        raise MppMissing(f"the file's {found.x:g} x {found.y:g} um per px is not believable")
    return found


def lay_grid(base: Level, mpp: Mpp, tile: TileRule) -> Grid:
    """Lay the tile grid over level 0.

    Raises:
        SlideTooLarge: more than `MAX_TILES` tiles.
    """
    step_x, step_y = tile.size_um / mpp.x, tile.size_um / mpp.y
    origin_x, origin_y = tile.origin_um[0] / mpp.x, tile.origin_um[1] / mpp.y
    columns = _count((base.width - origin_x) / step_x, tile.edge)
    rows = _count((base.height - origin_y) / step_y, tile.edge)
    if columns * rows > MAX_TILES:
        raise SlideTooLarge(f"{base.width} x {base.height} px make {columns} x {rows} tiles")
    return Grid(columns, rows, (origin_x, origin_y), (step_x, step_y), mpp)


def _count(tiles: float, edge: str) -> int:
    whole = ceil(tiles - ROUNDING_TILES) if edge == "pad" else floor(tiles + ROUNDING_TILES)
    return max(whole, 0)
