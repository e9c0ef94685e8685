"""Augmentation: what is drawn at random for a view of a tile, and how strongly.

Everything is drawn on the CPU from a generator of the step's own, for the joined batch of all
ranks: a view depends on seed, step and place in the batch, on no number of ranks, and on the device
only by rounding.
"""

from dataclasses import dataclass, fields
from itertools import permutations
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from deepsmile.frozen import Frozen, Share

TRIES = 10
"""Draws of a crop before the whole tile is taken, as in torchvision."""
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ORDERS = tuple(permutations(range(4)))
"""Orders of brightness, contrast, saturation and hue."""


class Augmentation(Frozen):
    """Strengths and chances; the defaults are the paper's (section 4.1.1, RESOLUTIONS row 12)."""

    crop_scale: tuple[Share, Share] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: Share = 0.5
    flip_vertical: Share = 0.0
    transpose: Share = 0.0
    jitter: Share = 0.8
    brightness: Share = 0.8
    contrast: Share = 0.8
    saturation: Share = 0.8
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    grey: Share = 0.2

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}: want 0 < low <= high, not {low} and {high}")
        return self


PAPER = Augmentation()
"""SimCLR's without blur, as the authors ran it (RESOLUTIONS row 12)."""
HISTOLOGY = Augmentation(
    crop_scale=(0.2, 1.0), flip_vertical=0.5, transpose=0.5, saturation=0.4, hue=0.05
)
"""Ours: tissue has no upright, and what stain says of it is partly in the hue."""
GENTLE = Augmentation(
    flip_vertical=0.5,
    transpose=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.02,
    grey=0.0,
)
"""Ours, for runs of minutes: the paper's crops, in colours alike enough to learn from few views."""
AUGMENTATIONS = {"paper": PAPER, "histology": HISTOLOGY, "gentle": GENTLE}


@dataclass(frozen=True)
class Draws:
    """What was drawn for B views; every tensor's first axis is B."""

    box: Tensor
    """(B, 4) top, left, height and width in px"""
    mirrored: Tensor
    """(B, 3) bool: left-right, top-bottom, transposed"""
    factors: Tensor
    """(B, 4) brightness, contrast and saturation (1: none), hue (0: none)"""
    order: Tensor
    """(B,) row of ORDERS"""
    grey: Tensor
    """(B,) bool"""

    def __len__(self) -> int:
        return len(self.grey)

    def part(self, start: int, stop: int) -> "Draws":
        """Those of views `start` to `stop`."""
        return Draws(*(getattr(self, field.name)[start:stop] for field in fields(self)))


def draw(how: Augmentation, views: int, tile_px: int, generator: torch.Generator) -> Draws:
    """Draw what torchvision's transforms would for each of `views` square tiles."""

    def chance(*shares: float) -> Tensor:
        return torch.rand(views, len(shares), generator=generator) < torch.tensor(shares)

    box = _boxes(how, views, tile_px, generator)  # (B, 4)
    mirrored = chance(how.flip, how.flip_vertical, how.transpose)  # (B, 3)
    none = torch.tensor([1.0, 1.0, 1.0, 0.0])  # (4,)
    reach = torch.tensor([how.brightness, how.contrast, how.saturation, how.hue])  # (4,)
    spread = 2 * torch.rand(views, 4, generator=generator) - 1  # (B, 4) in -1 to 1
    factors = torch.where(chance(how.jitter), none + reach * spread, none)  # (B, 4)
    order = torch.randint(len(ORDERS), (views,), generator=generator)  # (B,)
    return Draws(box, mirrored, factors, order, chance(how.grey)[:, 0])


def _boxes(how: Augmentation, views: int, tile_px: int, generator: torch.Generator) -> Tensor:
    """RandomResizedCrop's boxes (B, 4): the first of TRIES that fits, else the whole tile."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    area = tile_px**2 * uniform(*how.crop_scale, views, TRIES)  # (B, T)
    logs = torch.tensor(how.crop_ratio).log().tolist()
    ratio = uniform(*logs, views, TRIES).exp()  # (B, T)
    sides = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], dim=2).round()  # (B, T, 2)
    fits = ((sides > 0) & (sides <= tile_px)).all(dim=2)  # (B, T)
    first = fits.int().argmax(dim=1)  # (B,)
    size = sides[torch.arange(views), first]  # (B, 2)
    size = torch.where(fits.any(dim=1, keepdim=True), size, torch.tensor(float(tile_px)))  # (B, 2)
    corner = (uniform(0, 1, views, 2) * (tile_px - size + 1)).floor()  # (B, 2)
    return torch.cat([corner, size], dim=1)  # (B, 4)
