"""Slide: regions clipped to a level and put back on white."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsmile.slides.slide import Level, clip, paste_on_white

PLACES = st.integers(-60, 60)
SIDES = st.integers(1, 60)


@given(PLACES, PLACES, SIDES, SIDES)
def test_a_region_is_the_level_s_pixels_where_it_has_some_and_white_elsewhere(
    x: int, y: int, width: int, height: int
) -> None:
    """docs/decisions.md: white outside the slide, whichever reader serves it."""
    level = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)  # never 255
    window = clip(Level(40, 30), x, y, width, height)
    pixels = None
    if window is not None:
        rows = slice(window.y, window.y + window.height)
        pixels = level[rows, window.x : window.x + window.width]
    region = paste_on_white(pixels, window, width, height)
    assert region.shape == (height, width, 3)
    for j in range(height):
        for i in range(width):
            inside = 0 <= y + j < 30 and 0 <= x + i < 40
            expected = level[y + j, x + i].tolist() if inside else [255, 255, 255]
            assert region[j, i].tolist() == expected


@pytest.mark.parametrize("place", [(-5, 0), (0, -5), (40, 0), (0, 30), (1000, 1000)])
def test_a_region_that_touches_nothing_has_no_window(place: tuple[int, int]) -> None:
    assert clip(Level(40, 30), *place, 5, 5) is None


def test_a_region_inside_is_passed_on_without_a_copy() -> None:
    pixels = np.zeros((5, 5, 3), np.uint8)
    assert paste_on_white(pixels, clip(Level(40, 30), 1, 1, 5, 5), 5, 5) is pixels
