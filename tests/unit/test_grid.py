"""Grid: where tiles lie, and which microns per pixel are believed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsmile.contract import MppRule, TileRule
from deepsmile.errors import MppMissing, RequestInvalid, SlideTooLarge
from deepsmile.grid import MAX_TILES, Grid, lay_grid, resolve_mpp
from deepsmile.slides.slide import Level, Mpp

RULE = MppRule(min=0.05, max=20.0, max_anisotropy=1.1)
SLACK_PX = 0.01
"""A millionth of the largest tile, for what floats cannot hold."""

SIDES = st.integers(1, 40_000)
MPPS = st.floats(0.2, 2.0)
ORIGINS = st.floats(0, 2000)


def rule(edge: str = "drop", origin: tuple[float, float] = (0.0, 0.0)) -> TileRule:
    return TileRule.model_validate(
        {"size_um": 256.0, "size_px": 224, "origin_um": origin, "edge": edge}
    )


def span(grid: Grid, axis: int, index: int) -> tuple[float, float]:
    """[from, to) of a column (axis 0) or row (axis 1), level-0 px."""
    start = grid.origin_l0[axis] + index * grid.step_l0[axis]
    return start, start + grid.step_l0[axis]


@given(SIDES, SIDES, MPPS, MPPS, ORIGINS, ORIGINS)
def test_with_drop_every_tile_lies_inside_and_no_further_one_would(
    width: int, height: int, mpp_x: float, mpp_y: float, origin_x: float, origin_y: float
) -> None:
    """`drop`: the authors' `skip`, which leaves out what reaches past the slide."""
    grid = lay_grid(Level(width, height), Mpp(mpp_x, mpp_y, ""), rule("drop", (origin_x, origin_y)))
    for axis, count, side in ((0, grid.columns, width), (1, grid.rows, height)):
        assert span(grid, axis, 0)[0] >= 0
        assert count == 0 or span(grid, axis, count - 1)[1] <= side + SLACK_PX
        assert span(grid, axis, count)[1] > side - SLACK_PX


@given(SIDES, SIDES, MPPS, MPPS, ORIGINS, ORIGINS)
def test_with_pad_the_tiles_cover_the_slide_and_none_lies_outside(
    width: int, height: int, mpp_x: float, mpp_y: float, origin_x: float, origin_y: float
) -> None:
    grid = lay_grid(Level(width, height), Mpp(mpp_x, mpp_y, ""), rule("pad", (origin_x, origin_y)))
    for axis, count, side in ((0, grid.columns, width), (1, grid.rows, height)):
        assert span(grid, axis, count)[0] >= side - SLACK_PX
        assert count == 0 or span(grid, axis, count - 1)[0] < side + SLACK_PX


@pytest.mark.parametrize(
    ("side", "mpp", "dropped", "padded"),
    [
        (1024, 0.25, 1, 1),
        (1023, 0.25, 0, 1),
        (1025, 0.25, 1, 2),
        (30_720, 0.25, 30, 30),
        (30_720, 0.25 + 1e-11, 30, 30),
        (1600, 0.5, 3, 4),
        (2048, 0.2527, 2, 3),
        (1, 0.25, 0, 1),
    ],
)
def test_tiles_are_counted_as_by_hand(side: int, mpp: float, dropped: int, padded: int) -> None:
    """256 um at 0.25 um per px are 1024 px; 30 of them fit 30720 px whatever the last digit."""
    level, found = Level(side, side), Mpp(mpp, mpp, "")
    drop, pad = lay_grid(level, found, rule("drop")), lay_grid(level, found, rule("pad"))
    assert (drop.columns, drop.rows, drop.size) == (dropped, dropped, dropped**2)
    assert (pad.columns, pad.rows, pad.size) == (padded, padded, padded**2)


def test_anisotropic_pixels_make_square_tiles_on_the_glass() -> None:
    grid = lay_grid(Level(10_240, 10_240), Mpp(0.25, 0.27, ""), rule())
    assert grid.step_l0 == (1024.0, pytest.approx(948.148148))
    assert (grid.columns, grid.rows) == (10, 10)


def test_the_origin_is_given_in_microns() -> None:
    """128 um are 512 px at 0.25: half a tile of a 2-tile slide is lost."""
    grid = lay_grid(Level(2048, 2048), Mpp(0.25, 0.25, ""), rule(origin=(128.0, 0.0)))
    assert grid.origin_l0 == (512.0, 0.0)
    assert (grid.columns, grid.rows) == (1, 2)


def test_the_origin_counts_each_axis_by_its_own_pixels() -> None:
    grid = lay_grid(Level(10_240, 10_240), Mpp(0.25, 0.5, ""), rule(origin=(128.0, 64.0)))
    assert grid.origin_l0 == (512.0, 128.0)


@pytest.mark.parametrize("edge", ["drop", "pad"])
def test_an_origin_beyond_the_slide_leaves_no_tiles(edge: str) -> None:
    grid = lay_grid(Level(1000, 1000), Mpp(0.5, 0.5, ""), rule(edge, (9999.0, 0.0)))
    assert (grid.columns, grid.size) == (0, 0)


def test_a_slide_of_more_tiles_than_any_glass_holds_is_refused() -> None:
    allowed = lay_grid(Level(400 * 512, 250 * 512), Mpp(0.5, 0.5, ""), rule())
    assert allowed.size == MAX_TILES == 100_000
    with pytest.raises(SlideTooLarge, match="make 317 x 317 tiles"):
        lay_grid(Level(317 * 512, 317 * 512), Mpp(0.5, 0.5, ""), rule())


@pytest.mark.parametrize("mpp", [(0.25, 0.25), (0.05, 0.05), (20, 20), (0.25, 0.27)])
def test_a_plausible_mpp_of_the_file_is_believed(mpp: tuple[float, float]) -> None:
    found = Mpp(*mpp, "aperio")
    assert resolve_mpp(found, None, RULE) is found


def test_the_bounds_themselves_are_believed() -> None:
    found = Mpp(0.25, 0.5, "aperio")
    assert resolve_mpp(found, None, RULE.model_copy(update={"max_anisotropy": 2.0})) is found
    assert [resolve_mpp(None, mpp, RULE).x for mpp in (0.05, 20.0)] == [0.05, 20.0]


@pytest.mark.parametrize(
    "mpp",
    [
        (math.nan, math.nan),
        (0.25, math.nan),
        (math.inf, math.inf),
        (0, 0),
        (0.25, 0),
        (-1, -1),
        (352.78, 352.78),
        (1000, 1000),
        (0.0499, 0.0499),
        (20.1, 20.1),
        (0.25, 0.2751),
        (0.2751, 0.25),
    ],
    ids=str,
)
def test_an_implausible_mpp_of_the_file_counts_as_missing(mpp: tuple[float, float]) -> None:
    """READERS 4.7: nan, 0 and -1 occur; 352.78 is 72 dpi, 1.0 mm a default; 10 % anisotropy."""
    with pytest.raises(MppMissing, match="not believable"):
        resolve_mpp(Mpp(*mpp, "aperio"), None, RULE)


def test_no_mpp_at_all_is_missing() -> None:
    with pytest.raises(MppMissing, match="states no microns per pixel"):
        resolve_mpp(None, None, RULE)


@pytest.mark.parametrize("found", [None, Mpp(0.25, 0.25, "aperio"), Mpp(math.nan, 0, "aperio")])
def test_the_request_s_mpp_goes_before_the_file_s(found: Mpp | None) -> None:
    assert resolve_mpp(found, 0.5, RULE) == Mpp(0.5, 0.5, "request")


@pytest.mark.parametrize("requested", [math.nan, math.inf, 0.0, -1.0, 352.78, 0.0499, 20.1])
def test_an_implausible_request_is_the_caller_s_mistake(requested: float) -> None:
    """Not an abstention: the caller can correct it; and never a quiet return to the file's."""
    with pytest.raises(RequestInvalid, match=r"outside 0\.05 to 20 um"):
        resolve_mpp(Mpp(0.25, 0.25, "aperio"), requested, RULE)
