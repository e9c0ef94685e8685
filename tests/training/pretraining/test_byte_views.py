"""Views on a CPU against those of whole batches, and against torchvision with images of bytes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from deepsmile.slides.slide import RGB
from deepsmile_training.pretraining import byte_views as ours
from deepsmile_training.pretraining.augmentation import AUGMENTATIONS, Draws, draw
from deepsmile_training.pretraining.views import make_views, tensor_views
from tests.making import tissue_image

TILE_PX, TILES = 96, 24
STEP = 1 / 255


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tissue() -> RGB:
    """(24, S, S, 3) of pink ground, dark nuclei and glass."""
    image = tissue_image(6 * TILE_PX, 4 * TILE_PX, tissue=0.9)
    rows = image.reshape(4, TILE_PX, 6, TILE_PX, 3).swapaxes(1, 2)  # (4, 6, S, S, 3)
    return np.ascontiguousarray(rows).reshape(TILES, TILE_PX, TILE_PX, 3)


@pytest.fixture(scope="module")
def slopes() -> Tensor:
    """(24, S, S, 3): red rises by two per column, green by two per row."""
    places = torch.arange(TILE_PX, dtype=torch.uint8) * 2  # (S,)
    across, down = places.expand(TILE_PX, -1), places.unsqueeze(1).expand(-1, TILE_PX)
    tile = torch.stack([across, down, torch.full_like(across, 90)], dim=2)  # (S, S, 3)
    return tile.expand(TILES, -1, -1, -1).contiguous()


def without_colour(draws: Draws) -> Draws:
    none = torch.tensor(ours.NONE).expand(len(draws), -1)  # (B, 4)
    return replace(draws, factors=none, grey=torch.zeros(len(draws), dtype=torch.bool))


@pytest.mark.parametrize("view_px", [TILE_PX, 130, 50], ids=["same", "larger", "smaller"])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_views_are_nearly_those_of_whole_batches(tissue: RGB, name: str, view_px: int) -> None:
    """Within one of the 255 steps in the mean, and within two in the mean of any view."""
    tiles = torch.from_numpy(tissue)
    draws = draw(AUGMENTATIONS[name], TILES, TILE_PX, generator(3))
    apart = (make_views(tiles, draws, view_px) - tensor_views(tiles, draws, view_px)).abs()
    assert float(apart.mean()) < STEP
    assert float(apart.mean(dim=(1, 2, 3)).max()) < 2 * STEP


@pytest.mark.parametrize("view_px", [TILE_PX, 130, 50], ids=["same", "larger", "smaller"])
def test_boxes_and_mirrors_are_the_same(slopes: Tensor, view_px: int) -> None:
    """A box off by one px would be off by two steps in the middle, a wrong mirror by far more."""
    draws = without_colour(draw(AUGMENTATIONS["histology"], TILES, TILE_PX, generator(1)))
    assert len({tuple(row) for row in draws.mirrored.tolist()}) == 8
    apart = make_views(slopes, draws, view_px) - tensor_views(slopes, draws, view_px)
    assert float(apart.abs().max()) < 1.05 * STEP
    assert float(apart.mean(dim=(2, 3)).abs().max()) < 0.5 * STEP


def test_whole_tiles_are_mirrored_exactly(tissue: RGB) -> None:
    """Left-right, then top-bottom, then transposed; all eight of them."""
    how = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]).bool()  # (8, 3)
    draws = without_colour(draw(AUGMENTATIONS["paper"], 8, TILE_PX, generator()))
    whole = torch.tensor([0.0, 0.0, TILE_PX, TILE_PX]).expand(8, -1)  # (8, 4)
    views = make_views(torch.from_numpy(tissue[:8]), replace(draws, box=whole, mirrored=how), 96)
    for view, tile, (left_right, top_bottom, transposed) in zip(views, tissue, how, strict=False):
        wanted = tile[:, ::-1] if left_right else tile  # (S, S, 3)
        wanted = wanted[::-1] if top_bottom else wanted
        wanted = wanted.swapaxes(0, 1) if transposed else wanted
        np.testing.assert_array_equal((view * 255).round().byte().permute(1, 2, 0), wanted)


@pytest.mark.parametrize(
    ("mine", "theirs", "factors", "steps"),
    [
        (ours.brighten, tv.adjust_brightness, [0.2, 1.0, 1.8], 1),
        (ours.contrast, tv.adjust_contrast, [0.2, 1.0, 1.8], 2),
        (ours.saturate, tv.adjust_saturation, [0.0, 1.0, 1.8], 2),
        (ours.turn_hue, tv.adjust_hue, [-0.5, -0.2, 0.0, 0.2, 0.5], 10),
    ],
)
def test_each_jitter_is_that_of_torchvision_with_bytes(
    tissue: RGB,
    mine: Callable[[RGB, float], RGB],
    theirs: Callable[[Tensor, float], Tensor],
    factors: list[float],
    steps: int,
) -> None:
    """Torchvision cuts where we round, and turns hues in float where we have 256 of them.

    Of the purest colours half a step of hue is 3 of 255, once for the hue and once for its turn.
    """
    noise = torch.randint(0, 256, (64, 64, 3), generator=generator()).byte().numpy()
    for pixels in (tissue[8], noise):
        for factor in factors:
            wanted = theirs(torch.from_numpy(pixels).permute(2, 0, 1), factor)  # (3, S, S)
            apart = mine(pixels, factor).astype(int) - wanted.permute(1, 2, 0).numpy()
            assert np.abs(apart).max() <= steps, factor
            assert np.abs(apart).mean() < 1.0, factor


def test_the_tiles_stay_as_they_are(tissue: RGB) -> None:
    tiles = torch.from_numpy(tissue.copy())
    make_views(tiles, draw(AUGMENTATIONS["paper"], TILES, TILE_PX, generator(2)), TILE_PX)
    assert torch.equal(tiles, torch.from_numpy(tissue))


def test_no_tiles_make_no_views() -> None:
    none = draw(AUGMENTATIONS["paper"], 1, TILE_PX, generator()).part(0, 0)
    assert make_views(torch.zeros(0, 96, 96, 3, dtype=torch.uint8), none, 32).shape == (
        0,
        3,
        32,
        32,
    )
