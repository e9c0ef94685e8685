"""Pyramid: the level that serves, and the one way from its pixels to a tile's."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepsmile.contract import PixelRule, TileRule
from deepsmile.errors import MppTooCoarse
from deepsmile.grid import Grid, lay_grid
from deepsmile.pyramid import Cutter, cut, make_cutter, resample
from deepsmile.slides.slide import Mpp
from deepsmile.tissue import all_cells
from tests.memory_slide import MemorySlide, pyramid_of

Image = NDArray[np.uint8]


def pixel_rule(tolerance: float = 1.02, *, upsample: bool = False) -> PixelRule:
    return PixelRule(
        level_tolerance=tolerance,
        resample="halve_then_bilinear",
        upsample=upsample,
        colour="as_stored",
    )


def tile_rule(size_um: float = 256.0, size_px: int = 224, edge: str = "drop") -> TileRule:
    return TileRule.model_validate(
        {"size_um": size_um, "size_px": size_px, "origin_um": (0.0, 0.0), "edge": edge}
    )


def noise(height: int, width: int, seed: int = 0) -> Image:
    """Texture that any shift or other filter would change, (h, w, 3)."""
    fine = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.addWeighted(fine, 0.5, cv2.GaussianBlur(fine, (0, 0), 5), 0.5, 0).astype(np.uint8)


def blank(*sides: tuple[int, int]) -> MemorySlide:
    """A slide of levels (width, height) without content; pages that nobody touches cost nothing."""
    return MemorySlide([np.zeros((height, width, 3), np.uint8) for width, height in sides])


def cutter_of(slide: MemorySlide, mpp: Mpp, tile: TileRule, rule: PixelRule) -> Cutter:
    return make_cutter(slide, lay_grid(slide.levels[0], mpp, tile), tile.size_px, rule)


def cut_all(slide: MemorySlide, cutter: Cutter) -> dict[tuple[int, int], Image]:
    """Every tile of the grid by its cell."""
    return {
        (column, row): tile
        for cells, tiles in cut(slide, cutter, all_cells(cutter.grid))
        for (column, row), tile in zip(cells.tolist(), tiles, strict=True)
    }


TEXTURE = pyramid_of(noise(1200, 1700), (0, 1))
FOUR_FOLD = ((32_768, 16_384), (8192, 4096), (2048, 1024))
TWO_FOLD = ((32_768, 16_384), (16_384, 8192), (8192, 4096), (4096, 2048))


@pytest.mark.parametrize(
    ("sides", "mpp", "size_um", "size_px", "tolerance", "level"),
    [
        (FOUR_FOLD, 0.25, 256.0, 224, 1.02, 1),
        (FOUR_FOLD, 0.5, 256.0, 224, 1.02, 0),
        (FOUR_FOLD, 0.25, 256.0, 120, 1.02, 1),
        (FOUR_FOLD, 0.25, 256.0, 16, 1.02, 2),
        (TWO_FOLD, 0.25, 112.0, 224, 1.0, 1),
        (TWO_FOLD, 0.2527, 112.0, 224, 1.02, 1),
        (TWO_FOLD, 0.2527, 112.0, 224, 1.0, 0),
        (TWO_FOLD, 0.256, 112.0, 224, 1.02, 0),
        (TWO_FOLD[:1], 0.25, 256.0, 224, 1.02, 0),
    ],
)
def test_the_coarsest_level_that_is_fine_enough_is_chosen(
    sides: tuple[tuple[int, int], ...],
    mpp: float,
    size_um: float,
    size_px: int,
    tolerance: float,
    level: int,
) -> None:
    """docs/decisions.md, Level: 2 % spare a 4x decode on scanners that write 0.2527."""
    tile = tile_rule(size_um, size_px)
    cutter = cutter_of(blank(*sides), Mpp(mpp, mpp, ""), tile, pixel_rule(tolerance))
    assert cutter.level == level


@pytest.mark.parametrize("mpp", [1.0, 1.14, 1.143, 1.165])
def test_a_slide_as_fine_as_the_tiles_within_the_tolerance_is_read(mpp: float) -> None:
    cutter = cutter_of(blank((2048, 2048)), Mpp(mpp, mpp, ""), tile_rule(), pixel_rule())
    assert cutter.level == 0


@pytest.mark.parametrize("mpp", [Mpp(1.167, 1.167, ""), Mpp(1.1, 1.167, ""), Mpp(2.0, 2.0, "")])
def test_a_slide_coarser_than_the_tiles_is_declined(mpp: Mpp) -> None:
    """HOUSE STYLE 28: no detail is invented; one coarse axis is enough."""
    with pytest.raises(MppTooCoarse, match=r"the model needs 1\.143"):
        cutter_of(blank((2048, 2048)), mpp, tile_rule(), pixel_rule())


def test_a_contract_may_allow_enlarging() -> None:
    slide = MemorySlide([noise(256, 256)])
    cutter = cutter_of(slide, Mpp(2.0, 2.0, ""), tile_rule(), pixel_rule(upsample=True))
    assert cutter.crop_px == (128, 128)
    tile = cut_all(slide, cutter)[1, 1]
    enlarged = cv2.resize(slide.images[0][128:, 128:], (224, 224), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(tile, enlarged)


def test_a_label_among_the_levels_is_never_taken_for_the_slide() -> None:
    """Generic TIFFs list any tiled page as a level; one of other proportions shows other things."""
    slide = blank((32_768, 16_384), (8192, 4096), (2048, 2040))
    cutter = cutter_of(slide, Mpp(0.25, 0.25, ""), tile_rule(size_px=16), pixel_rule())
    assert cutter.level == 1


@pytest.mark.parametrize("sides", [(2221, 1783), (2222, 1784), (555, 445), (138, 111), (69, 55)])
def test_a_level_whose_sides_were_rounded_is_still_one(sides: tuple[int, int]) -> None:
    """TCGA-CR-7395: 4443 x 3567 px and 2221 x 1783, a downsample of 2.0005."""
    slide = blank((4443, 3567), sides)
    cutter = cutter_of(slide, Mpp(0.5, 0.5, ""), tile_rule(size_px=8), pixel_rule())
    assert cutter.level == 1
    assert cutter.downsample == (4443 / sides[0], 3567 / sides[1])


@pytest.mark.parametrize("sides", [((100_000, 1000), (3125, 31)), ((1000, 100_000), (31, 3125))])
def test_one_side_tells_of_a_long_strip_that_its_level_was_rounded(
    sides: tuple[tuple[int, int], ...],
) -> None:
    """31 for 31.25: by that side the other would be 3100."""
    cutter = cutter_of(blank(*sides), Mpp(0.5, 0.5, ""), tile_rule(size_px=8), pixel_rule())
    assert cutter.level == 1


@pytest.mark.parametrize("sides", [(300, 460), (460, 300)])
def test_a_crop_is_halved_only_where_both_sides_allow_it(sides: tuple[int, int]) -> None:
    crop, tile = noise(*sides), np.empty((224, 224, 3), np.uint8)
    resample(crop, tile)
    np.testing.assert_array_equal(tile, cv2.resize(crop, (224, 224)))


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=12, unique=True),
    st.floats(0.45, 0.6),
)
def test_a_tile_s_pixels_do_not_depend_on_what_is_read_with_it(
    some: list[tuple[int, int]], mpp: float
) -> None:
    """docs/decisions.md, Pixels: neither on neighbours nor on the size of a block."""
    slide = MemorySlide(TEXTURE)
    cutter = cutter_of(slide, Mpp(mpp, mpp, ""), tile_rule(100.0, 56), pixel_rule())
    cells = np.array(some, np.int32)
    together = {
        tuple(cell): tile
        for places, tiles in cut(slide, cutter, cells)
        for cell, tile in zip(places.tolist(), tiles, strict=True)
    }
    assert sorted(together) == sorted(some)
    for cell in some:
        ((_, alone),) = cut(slide, cutter, np.array([cell], np.int32))
        np.testing.assert_array_equal(together[cell], alone[0])


def test_a_tile_is_the_resampled_crop_at_its_rounded_corner() -> None:
    """0.45 um per px: steps of 222.2 px; tile (2, 1) starts at 444.4, 222.2 -> 444, 222."""
    slide = MemorySlide([noise(700, 700)])
    cutter = cutter_of(slide, Mpp(0.45, 0.45, ""), tile_rule(100.0, 56), pixel_rule())
    expected = np.zeros((56, 56, 3), np.uint8)
    resample(slide.images[0][222 : 222 + 222, 444 : 444 + 222], expected)
    np.testing.assert_array_equal(cut_all(slide, cutter)[2, 1], expected)


@given(
    st.integers(0, 300), st.integers(0, 300), st.floats(0.2, 1.1), st.sampled_from([1, 2.0005, 4])
)
def test_a_corner_is_at_most_half_a_pixel_of_its_level_off(
    column: int, row: int, mpp: float, downsample: float
) -> None:
    step = 256 / mpp
    grid = Grid(400, 400, (3.3, 7.7), (step, step), Mpp(mpp, mpp, ""))
    cutter = Cutter(grid, 1, (downsample, downsample), (224, 224), 224)
    x, y = cutter.corner(column, row)
    assert abs(x - (3.3 + column * step) / downsample) <= 0.5
    assert abs(y - (7.7 + row * step) / downsample) <= 0.5


@given(st.floats(0.1, 1.16), st.sampled_from([8, 32, 224]))
def test_a_crop_has_the_tile_s_true_size_but_for_half_a_pixel(mpp: float, size_px: int) -> None:
    """Half a pixel of what is left when it is halved evenly down to less than twice the tile."""
    cutter = cutter_of(blank((16, 16)), Mpp(mpp, mpp, ""), tile_rule(256, size_px), pixel_rule())
    true, crop = 256 / mpp, cutter.crop_px[0]
    assert abs(crop / true - 1) <= 0.5 / min(size_px, true)
    while crop >= 2 * size_px:
        assert crop % 2 == 0
        crop //= 2


def test_anisotropic_pixels_come_out_square() -> None:
    """A circle on the glass, scanned at 0.5 x 0.54 um per px, is a circle in the tile."""
    y, x = np.mgrid[:948, :1024]
    disk = ((x + 0.5) * 0.5 - 256) ** 2 + ((y + 0.5) * 0.54 - 256) ** 2 < 100**2
    slide = MemorySlide([np.where(disk[..., None], 0, 255).repeat(3, axis=2).astype(np.uint8)])
    cutter = cutter_of(slide, Mpp(0.5, 0.54, ""), tile_rule(511.0, 224), pixel_rule())
    assert cutter.crop_px == (1024, 948)
    dark = cut_all(slide, cutter)[0, 0][..., 0] < 128
    assert int(dark.any(axis=0).sum()) == pytest.approx(200 / 511 * 224, abs=1.5)
    assert int(dark.any(axis=1).sum()) == pytest.approx(200 / 511 * 224, abs=1.5)


def test_with_pad_the_rest_of_an_edge_tile_is_white() -> None:
    slide = MemorySlide([np.zeros((300, 300, 3), np.uint8)])
    cutter = cutter_of(slide, Mpp(1.0, 1.0, ""), tile_rule(256.0, 256, "pad"), pixel_rule())
    tiles = cut_all(slide, cutter)
    assert sorted(tiles) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert tiles[0, 0].max() == 0
    assert tiles[1, 1][:44, :44].max() == 0
    assert tiles[1, 1][44:].min() == tiles[1, 1][:, 44:].min() == 255


def test_neighbours_are_read_in_one_region_of_bounded_size() -> None:
    """READERS 3: blocks up to about 1100 px, each stored tile decoded once."""
    slide = MemorySlide([np.zeros((4096, 4096, 3), np.uint8)])
    cutter = cutter_of(slide, Mpp(1.0, 1.0, ""), tile_rule(256.0, 224), pixel_rule())
    cut_all(slide, cutter)
    assert cutter.block == (4, 4)
    assert len(slide.reads) == 16
    assert {read[3:] for read in slide.reads} == {(1024, 1024)}


def test_no_cells_read_nothing() -> None:
    slide = blank((2048, 2048))
    cutter = cutter_of(slide, Mpp(1.0, 1.0, ""), tile_rule(), pixel_rule())
    assert list(cut(slide, cutter, np.empty((0, 2), np.int32))) == []
    assert slide.reads == []


def test_tiles_come_block_by_block_in_reading_order() -> None:
    slide = blank((2048, 1024))
    cutter = cutter_of(slide, Mpp(1.0, 1.0, ""), tile_rule(), pixel_rule())
    shuffled = np.random.default_rng(0).permutation(all_cells(cutter.grid))
    blocks = [cells.tolist() for cells, _ in cut(slide, cutter, shuffled)]
    assert blocks[0][:5] == [[0, 0], [1, 0], [2, 0], [3, 0], [0, 1]]
    assert [block[0] for block in blocks] == [[0, 0], [4, 0]]
