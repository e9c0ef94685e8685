"""Views of whole batches against torchvision's own functions with the same parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from deepsmile_training.pretraining.augmentation import (
    AUGMENTATIONS,
    ORDERS,
    PAPER,
    Augmentation,
    Draws,
    draw,
)
from deepsmile_training.pretraining.colour import mix, turn_hue
from deepsmile_training.pretraining.views import make_views, tensor_views

TILE_PX = 40


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def tiles() -> Tensor:
    """(24, S, S, 3) of noise, with pixels without colour among them."""
    noise = torch.randint(0, 256, (24, TILE_PX, TILE_PX, 3), generator=generator()).byte()
    noise[:, :5] = noise[:, :5, :, :1]
    return noise


def slow_view(tile: Tensor, draws: Draws, i: int, view_px: int) -> Tensor:
    """One tile (S, S, 3) by torchvision's functions, (3, v, v)."""
    top, left, height, width = (int(value) for value in draws.box[i])
    size = [view_px, view_px]
    unit = tile.permute(2, 0, 1) / 255  # (3, S, S)
    x = tv.resized_crop(unit, top, left, height, width, size, antialias=True)  # (3, v, v)
    left_right, top_bottom, transposed = draws.mirrored[i]
    x = tv.hflip(x) if left_right else x
    x = tv.vflip(x) if top_bottom else x
    x = x.transpose(1, 2) if transposed else x
    adjust = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    for which in ORDERS[int(draws.order[i])]:
        x = adjust[which](x, float(draws.factors[i, which]))
    return tv.rgb_to_grayscale(x, num_output_channels=3) if draws.grey[i] else x


@pytest.mark.parametrize("view_px", [TILE_PX, 64, 24], ids=["same", "larger", "smaller"])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_views_are_those_of_torchvision(tiles: Tensor, name: str, view_px: int) -> None:
    """Each view's crop, mirrors, jitter in its own order, and grey; no pixel off by 1e-3."""
    draws = draw(AUGMENTATIONS[name], len(tiles), TILE_PX, generator(3))
    views = tensor_views(tiles, draws, view_px)
    for i, (tile, view) in enumerate(zip(tiles, views, strict=True)):
        apart = (view - slow_view(tile, draws, i, view_px)).abs()
        assert float(apart.max()) < 1e-3, i


def brighten(x: Tensor, factor: Tensor) -> Tensor:
    return mix(x, factor, 0 * factor, 0 * factor)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    return mix(x, factor, 0 * factor, 1 - factor)


def saturate(x: Tensor, factor: Tensor) -> Tensor:
    return mix(x, factor, 1 - factor, 0 * factor)


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (brighten, tv.adjust_brightness, [0.2, 1.0, 1.8]),
        (contrast, tv.adjust_contrast, [0.2, 1.0, 1.8]),
        (saturate, tv.adjust_saturation, [0.0, 1.0, 1.8]),
        (turn_hue, tv.adjust_hue, [-0.5, -0.2, 0.0, 0.2, 0.5]),
    ],
)
def test_each_jitter_is_that_of_torchvision(tiles, ours, theirs, factors) -> None:
    x = tiles.permute(0, 3, 1, 2) / 255  # (B, 3, S, S)
    for factor in factors:
        each = torch.full((len(x), 1, 1, 1), factor)
        torch.testing.assert_close(ours(x, each), theirs(x, factor), atol=1e-5, rtol=0)


def test_hues_in_half_precision_are_near_enough(tiles: Tensor) -> None:
    """The GPU's float16 moves no channel by more than one of the 255 steps that it came from."""
    x = (tiles.permute(0, 3, 1, 2) / 255).half()  # (B, 3, S, S)
    turns = torch.full((len(x), 1, 1, 1), 0.13)
    apart = turn_hue(x, turns.half()).float() - turn_hue(x.float(), turns.half().float())
    assert float(apart.abs().max()) < 1 / 255


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("brightest", [5, 255], ids=["nearly black", "noise"])
def test_views_in_half_precision_are_finite_and_alike(name: str, brightest: int) -> None:
    """All of a view as a GPU makes it. Of nearly black tiles colours are so faint that the inverse
    of their chroma is infinite in half precision."""
    tiles = torch.randint(0, brightest + 1, (256, 32, 32, 3), generator=generator()).byte()
    draws = draw(AUGMENTATIONS[name], len(tiles), 32, generator(1))
    half = tensor_views(tiles, draws, 32, torch.float16)
    assert half.dtype is torch.float16
    assert bool(half.isfinite().all())
    apart = (half.float() - tensor_views(tiles, draws, 32)).abs()
    assert float(apart.mean()) < 0.1 / 255
    assert float(apart.quantile(0.9999)) < 4 / 255


class Counted(TorchDispatchMode):
    """What torch is asked to do; views of memory are nothing that a device is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.constants = 0, 0

    def __torch_dispatch__(self, op: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        self.launches += not op.is_view
        self.constants += op is torch.ops.aten.lift_fresh.default
        return op(*given, **(named or {}))


def test_views_take_as_many_launches_of_all_orders_as_of_one() -> None:
    """A GPU's time goes by the launch where pictures are small, and it waits for every constant."""
    tiles = torch.randint(0, 256, (256, 32, 32, 3), generator=generator()).byte()
    counted = []
    for views in (256, 4):
        draws = draw(PAPER, views, 32, generator(1))
        with Counted() as mode:
            tensor_views(tiles[:views], draws, 32)
        counted.append(mode)
    all_orders, few = counted
    assert few.launches <= all_orders.launches < 300
    assert all_orders.constants == few.constants <= 1


def test_crops_are_distributed_as_torchvisions() -> None:
    """RandomResizedCrop's areas, shapes and corners: quantiles of 4,000 draws within 3 %."""
    count, size = 4000, 224
    ours = draw(PAPER, count, size, generator(5)).box.numpy()  # (n, 4)
    torch.manual_seed(6)
    image = torch.zeros(3, size, size)
    scale, ratio = list(PAPER.crop_scale), list(PAPER.crop_ratio)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, scale, ratio) for _ in range(count)]
    )  # (n, 4)
    levels = np.linspace(0.05, 0.95, 10)
    for each in (lambda b: b[:, 2] * b[:, 3] / size**2, lambda b: b[:, 3] / b[:, 2]):
        np.testing.assert_allclose(
            np.quantile(each(ours), levels), np.quantile(each(theirs), levels), rtol=0.06
        )
    for axis in (0, 1):
        np.testing.assert_allclose(
            np.quantile(ours[:, axis], levels), np.quantile(theirs[:, axis], levels), atol=6
        )


def test_a_crop_that_never_fits_is_the_whole_tile() -> None:
    """As in torchvision, whose fallback is the middle: for a square tile, all of it."""
    wide = Augmentation(crop_scale=(1.0, 1.0), crop_ratio=(2.0, 2.0))
    box = draw(wide, 5, TILE_PX, generator()).box
    assert box.tolist() == [[0, 0, TILE_PX, TILE_PX]] * 5


def test_chances_are_the_papers() -> None:
    """Section 4.1.1 and RESOLUTIONS row 12: flip 0.5, jitter 0.8, grey 0.2, nothing turned."""
    many = 20_000
    draws = draw(PAPER, many, 224, generator(1))
    left_right, top_bottom, transposed = draws.mirrored.float().mean(dim=0).tolist()
    assert left_right == pytest.approx(0.5, abs=0.02)
    assert top_bottom == transposed == 0
    none = torch.tensor([1.0, 1.0, 1.0, 0.0])
    jittered = (draws.factors != none).any(dim=1)
    assert float(jittered.float().mean()) == pytest.approx(0.8, abs=0.02)
    low, high = draws.factors[jittered].amin(dim=0), draws.factors[jittered].amax(dim=0)
    torch.testing.assert_close(low, torch.tensor([0.2, 0.2, 0.2, -0.2]), atol=0.01, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.8, 1.8, 1.8, 0.2]), atol=0.01, rtol=0)
    assert float(draws.grey.float().mean()) == pytest.approx(0.2, abs=0.02)
    assert draws.order.bincount(minlength=24).min() > 0.8 * many / 24


@pytest.mark.parametrize("make", [make_views, tensor_views])
def test_same_seed_same_views(tiles: Tensor, make: Callable[..., Tensor]) -> None:
    first, again, other = (
        make(tiles, draw(PAPER, len(tiles), TILE_PX, generator(seed)), 32) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
