"""Tiles: a plan first, then the pixels of those with tissue."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deepsmile.contract import Budget, FeatureContract
from deepsmile.errors import MppMissing, MppTooCoarse, NotHE, RequestInvalid
from deepsmile.slides.slide import Mpp
from deepsmile.tiles import TileCount, in_budget_order, plan_tiles, read_tiles
from deepsmile.tissue import all_cells
from tests.making import feature_contract, tissue_image
from tests.memory_slide import MemorySlide, pyramid_of

Cell = tuple[int, int]
SMALL_TILES = {"size_um": 64.0, "size_px": 56, "origin_um": (0.0, 0.0), "edge": "drop"}


def contract(**changes: Any) -> FeatureContract:
    """Tiles of 64 um in 56 px: many of them on a small slide."""
    return feature_contract(tile=SMALL_TILES, **changes)


def budget(tiles: int | None, seed: int = 0) -> dict[str, Any]:
    return {"max_tiles": tiles, "seed": seed}


@cache
def _levels(seed: int, tissue: float, side: int) -> list[NDArray[np.uint8]]:
    return pyramid_of(tissue_image(side, side, seed, tissue), (0, 2))


def slide_of(seed: int = 0, tissue: float = 0.7, side: int = 1600) -> MemorySlide:
    """12 x 12 tiles at 0.5 um per px."""
    return MemorySlide(_levels(seed, tissue, side))


def read_all(
    slide: MemorySlide, rules: FeatureContract, batch: int = 7
) -> tuple[dict[Cell, NDArray[np.uint8]], TileCount, list[int]]:
    """Tiles by cell, the count, and the sizes of the batches."""
    count, tiles, sizes = TileCount(), {}, []
    for found in read_tiles(slide, plan_tiles(slide, rules, None), rules, batch, count):
        sizes.append(len(found.cells))
        for cell, pixels in zip(found.cells.tolist(), found.pixels, strict=True):
            tiles[cell[0], cell[1]] = pixels
    return tiles, count, sizes


def tissue_rule(overview_max_background: float) -> dict[str, Any]:
    rule: dict[str, Any] = feature_contract().model_dump(mode="json")["tissue"]
    return {**rule, "overview_max_background": overview_max_background}


@pytest.mark.parametrize(("seed", "tissue"), [(0, 0.3), (1, 0.6), (2, 0.8), (3, 0.95)])
def test_the_overview_loses_no_tile_that_the_exact_rule_keeps(seed: int, tissue: float) -> None:
    """docs/decisions.md: averaging raises gradients, so the overview shows less background."""
    slide = slide_of(seed, tissue)
    exact, everything, _ = read_all(slide, contract(tissue=tissue_rule(1.0)))
    found, count, _ = read_all(slide, contract())
    assert found.keys() == exact.keys()
    assert everything.decoded == 144
    assert len(found) == count.kept <= count.decoded < 144
    assert 0 < count.kept < 144


def test_the_plan_lists_candidates_row_by_row() -> None:
    plan = plan_tiles(slide_of(), contract(), None)
    places = [(row, column) for column, row in plan.candidates.tolist()]
    assert places == sorted(places)
    assert {(row, column) for row, column in places} == set(
        zip(*(axis.tolist() for axis in np.nonzero(plan.tissue.candidates)), strict=True)
    )


def test_the_overview_is_told_of_as_it_is_read() -> None:
    told: list[tuple[int, int]] = []
    plan_tiles(slide_of(), contract(), None, lambda done, total: told.append((done, total)))
    assert told[-1] == (144, 144)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_pixels_are_those_of_the_slide() -> None:
    """At 0.5 um per px a tile of 64 um is 128 px: two of its pixels and a bit make one of 56."""
    slide = MemorySlide([np.full((512, 512, 3), (214, 150, 196), np.uint8)])
    tiles, _, _ = read_all(slide, contract())
    assert len(tiles) == 16
    assert all((pixels == (214, 150, 196)).all() for pixels in tiles.values())


@pytest.mark.parametrize("batch", [1, 3, 7, 1000])
def test_batches_are_full_but_for_the_last(batch: int) -> None:
    tiles, count, sizes = read_all(slide_of(), contract(), batch)
    assert len(tiles) == count.kept == sum(sizes)
    assert all(size == batch for size in sizes[:-1])
    assert 0 < sizes[-1] <= batch


def test_glass_alone_gives_no_batch() -> None:
    tiles, count, sizes = read_all(slide_of(tissue=0), contract())
    assert (tiles, count, sizes) == ({}, TileCount(0, 0), [])


def test_a_slide_smaller_than_a_tile_gives_no_batch() -> None:
    """HOUSE STYLE 36: 0 tiles."""
    tiles, count, _ = read_all(slide_of(side=100), contract())
    assert (tiles, count) == ({}, TileCount(0, 0))


def test_a_slide_of_exactly_one_tile_gives_it() -> None:
    """HOUSE STYLE 36: 1 tile."""
    slide = MemorySlide([np.full((128, 128, 3), (214, 150, 196), np.uint8)])
    tiles, count, sizes = read_all(slide, contract())
    assert list(tiles) == [(0, 0)]
    assert (count, sizes) == (TileCount(1, 1), [1])


@pytest.mark.parametrize("most", [None, 5, 20, 10_000])
@pytest.mark.parametrize("batch", [1, 7])
def test_what_is_still_to_come_is_never_too_little_and_shrinks(
    most: int | None, batch: int
) -> None:
    """So that a progress bar only gains, and ends where the tiles do."""
    slide, rules = slide_of(), contract(budget=budget(most))
    plan, count, read, totals = plan_tiles(slide, rules, None), TileCount(), 0, []
    for found in read_tiles(slide, plan, rules, batch, count):
        read += len(found.cells)
        totals.append(read + found.to_come)
    assert totals == sorted(totals, reverse=True)
    assert totals[0] <= min(len(plan.candidates), most or 144)
    assert totals[-1] >= read == count.kept


@pytest.mark.parametrize("most", [1, 5, 20])
def test_a_budget_is_used_up_to_the_last_tile(most: int) -> None:
    tiles, count, _ = read_all(slide_of(), contract(budget=budget(most)))
    assert len(tiles) == count.kept == most


@pytest.mark.parametrize("most", [5, 10, 20])
def test_a_budget_is_kept_where_most_candidates_are_glass(most: int) -> None:
    """They are decoded in several goes, each of no more than what is still missing."""
    changes = {"budget": budget(most), "tissue": tissue_rule(1.0)}
    tiles, count, _ = read_all(slide_of(3, 0.4), contract(**changes))
    assert len(tiles) == count.kept == most
    assert 2 * most < count.decoded < 144


def test_a_budget_beyond_the_tissue_gives_all_of_it() -> None:
    slide = slide_of()
    everything, _, _ = read_all(slide, contract())
    tiles, _, _ = read_all(slide, contract(budget=budget(10_000)))
    assert tiles.keys() == everything.keys()


def test_the_budget_takes_the_first_tissue_tiles_of_its_order() -> None:
    """Exactly the first of the seeded order that the exact rule keeps."""
    slide, rules = slide_of(), contract(budget=budget(12, seed=3))
    everything, _, _ = read_all(slide, contract())
    ordered = [(column, row) for column, row in plan_tiles(slide, rules, None).candidates.tolist()]
    expected = [cell for cell in ordered if cell in everything][:12]
    assert set(read_all(slide, rules)[0]) == set(expected)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_seed_s_tiles_do_not_depend_on_how_they_are_read(batch: int) -> None:
    """Batches are a setting, the choice is the contract's; pixels are the same as without it."""
    slide = slide_of()
    everything, _, _ = read_all(slide, contract())
    tiles, _, _ = read_all(slide, contract(budget=budget(10, seed=5)), batch)
    again, _, _ = read_all(slide, contract(budget=budget(10, seed=5)), 4)
    assert tiles.keys() == again.keys()
    for cell, pixels in tiles.items():
        np.testing.assert_array_equal(pixels, everything[cell])


def test_another_seed_takes_other_tiles() -> None:
    slide = slide_of()
    chosen = {frozenset(read_all(slide, contract(budget=budget(10, s)))[0]) for s in range(5)}
    assert len(chosen) == 5


def test_a_smaller_budget_takes_a_part_of_a_larger_one() -> None:
    slide = slide_of()
    few, many = (set(read_all(slide, contract(budget=budget(n)))[0]) for n in (5, 15))
    assert few < many


def slow_key(column: int, row: int, seed: int) -> int:
    """SplitMix64's mixing (Steele, Lea, Flood 2014) of (row, column) + seed * golden ratio."""
    whole = 2**64
    z = (row * 2**32 + column + seed * 0x9E3779B97F4A7C15) % whole
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % whole
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % whole
    return z ^ (z >> 31)


def grid_cells(columns: int, rows: int) -> NDArray[np.int32]:
    return np.array([[c, r] for r in range(rows) for c in range(columns)], np.int32)


@pytest.mark.parametrize("seed", [0, 1, 42, -1, 2**40])
def test_the_order_is_that_of_splitmix64_keys(seed: int) -> None:
    cells = grid_cells(40, 30)
    expected = sorted(cells.tolist(), key=lambda cell: slow_key(cell[0], cell[1], seed))
    assert in_budget_order(cells, Budget(max_tiles=5, seed=seed)).tolist() == expected


@pytest.mark.parametrize(
    ("seed", "first"),
    [
        (0, [[0, 0], [7, 3], [8, 5], [3, 3], [1, 1], [7, 0]]),
        (1, [[6, 6], [7, 6], [4, 4], [2, 3], [5, 5], [4, 5]]),
        (2026, [[7, 3], [2, 1], [0, 1], [8, 4], [2, 0], [7, 6]]),
    ],
)
def test_the_first_tiles_of_a_seed_never_change(seed: int, first: list[list[int]]) -> None:
    """A golden: another order is another score, and an entry under Scores in the CHANGELOG."""
    ordered = in_budget_order(grid_cells(10, 8), Budget(max_tiles=1, seed=seed))
    assert ordered[:6].tolist() == first


def test_the_order_of_cells_given_does_not_matter() -> None:
    cells = grid_cells(9, 9)
    shuffled = np.random.default_rng(0).permutation(cells)
    rule = Budget(max_tiles=5, seed=7)
    assert in_budget_order(shuffled, rule).tolist() == in_budget_order(cells, rule).tolist()


def test_without_a_budget_the_order_stays() -> None:
    shuffled = np.random.default_rng(0).permutation(grid_cells(9, 9))
    assert in_budget_order(shuffled, Budget(max_tiles=None, seed=7)) is shuffled


def test_every_cell_is_listed_once_row_by_row() -> None:
    grid = plan_tiles(slide_of(), contract(), None).grid
    assert all_cells(grid).tolist() == grid_cells(12, 12).tolist()


@pytest.mark.parametrize(
    ("mpp", "requested", "error"),
    [
        (None, None, MppMissing),
        (Mpp(0.0, 0.0, "aperio"), None, MppMissing),
        (Mpp(2.0, 2.0, "aperio"), None, MppTooCoarse),
        (Mpp(0.5, 0.5, "aperio"), 2.0, MppTooCoarse),
        (Mpp(0.5, 0.5, "aperio"), float("nan"), RequestInvalid),
    ],
)
def test_a_scale_that_is_missing_or_coarse_stops_before_any_pixel(
    mpp: Mpp | None, requested: float | None, error: type[Exception]
) -> None:
    slide = slide_of()
    slide.mpp = mpp
    with pytest.raises(error):
        plan_tiles(slide, contract(), requested)
    assert slide.reads == []


def test_another_stain_stops_before_any_tile_is_decoded() -> None:
    brown = MemorySlide([np.full((512, 512, 3), (150, 105, 70), np.uint8)])
    with pytest.raises(NotHE):
        plan_tiles(brown, contract(), None)
