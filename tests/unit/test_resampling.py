"""Resampling: halvings and one bilinear step, against slow oracles."""

import numpy as np
import pytest
from numpy.typing import NDArray

from deepsmile.pyramid import resample
from deepsmile.slides.slide import Mpp
from tests.memory_slide import MemorySlide, pyramid_of
from tests.unit.test_pyramid import cut_all, cutter_of, noise, pixel_rule, tile_rule

Image = NDArray[np.uint8]


def slow_halving(image: Image) -> Image:
    """Means of 2 x 2, halves rounded up, (h, w, 3) -> (h/2, w/2, 3), pixel by pixel."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    out = np.zeros((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            for c in range(3):
                four = [int(image[2 * y + j, 2 * x + i, c]) for j in (0, 1) for i in (0, 1)]
                out[y, x, c] = (sum(four) + 2) // 4
    return out


def slow_bilinear(image: Image, size: int) -> NDArray[np.float64]:
    """Bilinear with pixel centres at half, edges repeated, (h, w, 3) -> (size, size, 3)."""
    height, width = image.shape[:2]
    out = np.zeros((size, size, 3))
    for j in range(size):
        for i in range(size):
            x, y = (i + 0.5) * width / size - 0.5, (j + 0.5) * height / size - 0.5
            x0, y0 = int(np.floor(x)), int(np.floor(y))
            for row, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
                for column, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
                    pixel = image[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
                    out[j, i] += wx * wy * pixel
    return out


@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_an_exact_halving_is_the_mean_of_four_pixels(halvings: int) -> None:
    crop = noise(16 << halvings, 16 << halvings, seed=halvings)
    out, slow = np.zeros((16, 16, 3), np.uint8), crop
    resample(crop, out)
    for _ in range(halvings):
        slow = slow_halving(slow)
    np.testing.assert_array_equal(out, slow)


@pytest.mark.parametrize(("side", "halvings"), [(17, 0), (31, 0), (36, 1), (80, 2), (124, 2)])
def test_the_rest_is_one_bilinear_step(side: int, halvings: int) -> None:
    crop = noise(side, side, seed=side)
    out, slow = np.zeros((16, 16, 3), np.uint8), crop
    resample(crop, out)
    for _ in range(halvings):
        slow = slow_halving(slow)
    assert np.abs(out - slow_bilinear(slow, 16)).max() <= 1


def test_a_crop_of_the_tile_s_size_is_copied() -> None:
    crop, out = noise(64, 64), np.zeros((64, 64, 3), np.uint8)
    resample(crop, out)
    np.testing.assert_array_equal(out, crop)


@pytest.mark.parametrize("halvings", [(0,), (0, 1), (0, 1, 2), (0, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("size_px", [32, 56])
def test_pixels_do_not_depend_on_which_levels_the_scanner_wrote(
    halvings: tuple[int, ...], size_px: int
) -> None:
    """docs/decisions.md, Resampling: the halvings are the ones that a pyramid is made of."""
    image = noise(1024, 2048)
    whole = MemorySlide(pyramid_of(image, (0,)))
    other = MemorySlide(pyramid_of(image, halvings))
    tile, mpp = tile_rule(128.0, size_px), Mpp(0.5, 0.5, "")
    one = cut_all(whole, cutter_of(whole, mpp, tile, pixel_rule()))
    two = cut_all(other, cutter_of(other, mpp, tile, pixel_rule()))
    assert one.keys() == two.keys()
    assert len(one) == 8 * 4
    for cell, pixels in one.items():
        np.testing.assert_array_equal(pixels, two[cell])
