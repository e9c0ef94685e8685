"""Tissue: each background rule against a slow oracle."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepsmile.contract import Fu2020, GlassRule, GreySobel, KeepAll
from deepsmile.tissue import (
    Overview,
    background,
    find_glass,
    find_tissue,
    gradient,
    is_tissue,
    scale_to_glass,
    to_grey,
)
from tests.making import feature_contract, tissue_image

Image = NDArray[np.uint8]
GLASS_RULE = GlassRule(min_grey=225.0, min_share=0.005)
PAPER: dict[str, Any] = {
    "rule": "grey_sobel",
    "grey": 240.0,
    "gradient": 15.0,
    "max_background": 0.5,
    "glass": None,
    "overview_max_background": 0.7,
}
SCALED = {**PAPER, "glass": GLASS_RULE.model_dump()}
FU = Fu2020(rule="fu2020", gradient=15.0, max_flat=0.6, overview_max_background=0.7)
STAINED_PINK = (214, 150, 196)


def slow_gradient(grey: Image) -> NDArray[np.int64]:
    """0.5 |dx| + 0.5 |dy| of 3 x 3 Sobel, mirrored at the edge, each clipped to 255, (h, w)."""
    kernel = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))
    padded = np.pad(grey.astype(int), 1, mode="reflect")
    out = np.zeros(grey.shape, int)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            dx = dy = 0
            for j in range(3):
                for i in range(3):
                    dx += kernel[j][i] * padded[y + j, x + i]
                    dy += kernel[i][j] * padded[y + j, x + i]
            out[y, x] = round(0.5 * min(abs(dx), 255) + 0.5 * min(abs(dy), 255))
    return out


def slow_background_share(grey: Image, bright: float, flat: float) -> float:
    """Share of the pixels with grey > bright and gradient <= flat."""
    slopes = slow_gradient(grey)
    hits = 0
    for value, slope in zip(grey.ravel().tolist(), slopes.ravel().tolist(), strict=True):
        hits += value > bright and slope <= flat
    return hits / grey.size


def as_rgb(grey: Image) -> Image:
    return np.repeat(grey[..., None], 3, axis=2)


def flat(value: int | tuple[int, int, int], side: int = 64) -> Image:
    return np.broadcast_to(np.uint8(value), (side, side, 3)).copy()


def noisy(grey: int, spread: float, seed: int, side: int = 32) -> Image:
    values = np.random.default_rng(seed).normal(grey, spread, (side, side))
    return np.clip(values, 0, 255).astype(np.uint8)


TEXTURES = [
    noisy(grey, spread, seed)
    for seed, (grey, spread) in enumerate(
        (grey, spread) for grey in (236, 243, 250, 255) for spread in (0.5, 3, 8, 30)
    )
]


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_grey_is_itu_r_bt_601_luma(rgb: tuple[int, int, int]) -> None:
    exact = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    assert abs(int(to_grey(flat(rgb, 1))[0, 0]) - exact) <= 0.51


@pytest.mark.parametrize("grey", TEXTURES, ids=lambda grey: f"{grey.mean():.0f}-{grey.std():.1f}")
def test_the_gradient_is_half_the_sum_of_both_sobels(grey: Image) -> None:
    """Fu et al. 2020's code; docs/decisions.md, Background."""
    np.testing.assert_array_equal(gradient(grey), slow_gradient(grey))


@pytest.mark.parametrize("grey", TEXTURES, ids=lambda grey: f"{grey.mean():.0f}-{grey.std():.1f}")
def test_background_is_bright_and_flat(grey: Image) -> None:
    """Paper section 3.1.2, read as "gradient not above 15"."""
    rule = GreySobel.model_validate(PAPER)
    share = slow_background_share(grey, 240, 15)
    assert background(grey, rule, 255).mean() == pytest.approx(share)
    assert is_tissue(as_rgb(grey), rule, 255) == (share <= 0.5)


@pytest.mark.parametrize("grey", TEXTURES, ids=lambda grey: f"{grey.mean():.0f}-{grey.std():.1f}")
def test_fu_et_al_s_rule_asks_for_flatness_only(grey: Image) -> None:
    """Fu et al. 2020: background when 60 % or more of the pixels have a gradient <= 15."""
    share = float((slow_gradient(grey) <= 15).mean())
    assert background(grey, FU, 255).mean() == pytest.approx(share)
    assert is_tissue(as_rgb(grey), FU, 255) == (share < 0.6)


def test_the_textures_fall_on_both_sides_of_every_rule() -> None:
    """Else the oracles above would prove nothing."""
    paper = GreySobel.model_validate(PAPER)
    for rule in (paper, FU):
        assert {is_tissue(as_rgb(grey), rule, 255) for grey in TEXTURES} == {True, False}


def test_half_background_is_still_tissue() -> None:
    """Paper section 3.1.2: "more than half"; the border between the halves is steep."""
    tile = flat(255)
    tile[:32] = 200
    assert is_tissue(tile, GreySobel.model_validate(PAPER), 255)


@pytest.mark.parametrize("glass", [236, 238, 240])
def test_the_paper_s_fixed_240_keeps_dark_glass_and_the_scaled_rule_drops_it(glass: int) -> None:
    """RESOLUTIONS, Glass: the background's grey mode was 236-250 on 21 real slides."""
    bare = as_rgb(noisy(glass, 1.0, seed=glass, side=64))
    literal, scaled = GreySobel.model_validate(PAPER), GreySobel.model_validate(SCALED)
    assert is_tissue(bare, literal, 255)
    assert not is_tissue(bare, scaled, glass)


@pytest.mark.parametrize("glass", [200, 236, 250, 254, 255])
def test_scaling_brings_the_glass_to_255_and_the_rest_along(glass: int) -> None:
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = [min(int(grey * 255 / glass + 0.5), 255) for grey in range(256)]
    assert scale_to_glass(greys, glass).ravel().tolist() == expected


@given(
    seed=st.integers(0, 10_000),
    level=st.integers(225, 255),
    spread=st.floats(0, 12),
    patch=st.integers(0, 32),
    glass=st.integers(230, 255),
)
def test_the_early_exit_never_changes_the_answer(
    seed: int, level: int, spread: float, patch: int, glass: int
) -> None:
    """`is_tissue` skips the gradient where greys alone decide; the full rule must agree."""
    rule = GreySobel.model_validate(SCALED)
    grey = noisy(level, spread, seed, side=32)
    grey[:patch] = 120
    whole = background(to_grey(as_rgb(grey)), rule, glass).mean() <= rule.max_background
    assert is_tissue(as_rgb(grey), rule, glass) == whole


def overview(image: Image, tile_px: int = 32) -> Overview:
    return Overview(image, tile_px)


def test_shares_are_counted_tile_by_tile() -> None:
    pixels = np.zeros((64, 96), np.bool_)
    pixels[:32, 32:64] = True
    pixels[32:48, :32] = True
    assert overview(flat(0)).shares(pixels).tolist() == [[0, 1, 0], [0.5, 0, 0]]


@pytest.mark.parametrize("mode", [225, 236, 250, 253, 255])
def test_glass_is_the_mode_of_the_bright_greys(mode: int) -> None:
    grey = np.full((100, 100), 120, np.uint8)
    grey[:5] = mode
    grey[5, :50] = 210
    assert find_glass(grey, GLASS_RULE) == mode


def test_too_little_glass_is_no_glass() -> None:
    """Fewer than 0.5 % of the pixels at the mode (+-2): nothing is scaled."""
    grey = np.full((100, 100), 120, np.uint8)
    grey[0, :49] = 236
    assert find_glass(grey, GLASS_RULE) == 255
    grey[0, 49] = 237
    assert find_glass(grey, GLASS_RULE) == 236


@pytest.mark.parametrize("glass", [236, 244, 253])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_white_filler_does_not_hide_the_glass(glass: int, share: float) -> None:
    """docs/decisions.md, Background: filler is one grey, glass has grain."""
    grey = noisy(glass, 2.0, seed=glass, side=128)
    grey[:64] = 120
    found = find_glass(grey, GLASS_RULE)
    wide = np.full((128, round(128 / (1 - share))), 255, np.uint8)
    wide[:, :128] = grey
    assert abs(found - glass) <= 1
    assert find_glass(wide, GLASS_RULE) == found


def test_holes_of_filler_in_the_glass_do_not_hide_it_either() -> None:
    """A sparse slide: every third camera field was not scanned, off the grid of tiles."""
    grey = noisy(240, 2.0, seed=0, side=240)
    found = find_glass(grey, GLASS_RULE)
    for y in range(0, 240, 40):
        for x in range(y % 3 * 40, 240, 120):
            grey[y : y + 40, x : x + 40] = 255
    assert find_glass(grey, GLASS_RULE) == found


def test_glass_as_bright_as_filler_is_told_by_its_grain() -> None:
    """A scanner that clips its glass: 255 stays the mode, whatever pale tissue there is."""
    grey = np.concatenate([noisy(255, 1.0, 0, 128), noisy(230, 3.0, 1, 128)])
    assert (grey == 255).mean() > 0.2
    assert find_glass(grey, GLASS_RULE) == 255


def test_darker_greys_are_never_glass() -> None:
    assert find_glass(np.full((10, 10), 199, np.uint8), GLASS_RULE) == 255


def test_of_two_equal_modes_the_darker_is_taken() -> None:
    grey = np.array([[236] * 50, [244] * 50], np.uint8)
    assert find_glass(grey, GLASS_RULE) == 236


def test_no_pixels_have_no_glass() -> None:
    assert find_glass(np.zeros((0, 0), np.uint8), GLASS_RULE) == 255


def contract_with(**rules: Any) -> Any:
    return feature_contract(stain={"rule": "any"}, **rules)


def test_candidates_are_the_tiles_with_little_background() -> None:
    """Three tiles: bare glass, 60 % glass, tissue; the overview rules out the first only."""
    image = np.concatenate([flat(244, 32), flat(244, 32), as_rgb(noisy(150, 20, 1, 32))], axis=1)
    image[:13, 32:64] = STAINED_PINK
    tissue = find_tissue(overview(image), contract_with())
    assert tissue.candidates.tolist() == [[False, True, True]]
    assert tissue.glass_grey == 244


@pytest.mark.parametrize("rule", [SCALED, PAPER])
def test_black_filler_is_no_tissue(rule: dict[str, Any]) -> None:
    """A tile, like a slide, of which more than `max_dark` is darker than `dark_grey`."""
    image = np.concatenate([flat(39, 32), flat(39, 32), flat(40, 32)], axis=1)
    image = np.concatenate([image, flat(150, 96)])
    image[:16, 32:64] = STAINED_PINK
    assert find_tissue(overview(image), feature_contract(tissue=rule)).candidates.tolist() == [
        [False, True, True],
        *[[True] * 3] * 3,
    ]


def test_the_unscaled_rule_says_that_glass_is_255() -> None:
    tissue = find_tissue(overview(flat(236)), contract_with(tissue=PAPER))
    assert tissue.glass_grey == 255
    assert tissue.candidates.all()


def test_without_a_rule_every_tile_is_a_candidate_and_tissue() -> None:
    tissue = find_tissue(overview(flat(255)), contract_with(tissue={"rule": "none"}))
    assert tissue.candidates.tolist() == [[True, True], [True, True]]
    assert is_tissue(flat(255), KeepAll(rule="none"), 255)


def test_bare_glass_has_no_candidates_and_no_stain_to_object_to() -> None:
    glass = overview(tissue_image(256, 256, tissue=0))
    assert not find_tissue(glass, feature_contract()).candidates.any()


@pytest.mark.parametrize("shape", [(0, 0), (0, 64), (64, 0)])
def test_a_slide_smaller_than_a_tile_has_no_candidates(shape: tuple[int, int]) -> None:
    """HOUSE STYLE 36: 0 tiles are too little tissue, not a crash of the reader."""
    tissue = find_tissue(overview(np.zeros((*shape, 3), np.uint8)), feature_contract())
    assert tissue.candidates.shape == (shape[0] // 32, shape[1] // 32)
    assert tissue.glass_grey == 255
