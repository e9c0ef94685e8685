"""Colour: torchvision's colour jitter on batches, with one factor per picture.

Pictures are (B, 3, h, w) in [0, 1]; parts and turns are (B, 1, 1, 1). All is arithmetic of whole
tensors, so that it runs on the device in half precision.
"""

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)
"""ITU-R 601-2, as torchvision has it."""
FAINTEST = 2**-15
"""Less chroma counts as this much: the inverse of less is infinite in half precision."""
# Over the six sextants of hue a channel is full for two, empty for two, and a ramp between:
# red |hue - 3| - 1, green 2 - |hue - 2|, blue 2 - |hue - 4|, each cut to [0, 1].
RAMPS = ((3, 1, -1), (2, -1, 2), (4, -1, 2))


def to_grey(x: Tensor) -> Tensor:
    """(B, 3, h, w) -> (B, 1, h, w)."""
    red, green, blue = (x[:, band : band + 1] for band in range(3))  # (B, 1, h, w) each
    grey: Tensor = GREY[0] * red
    return grey.add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])  # (B, 1, h, w)


def mix(x: Tensor, own: Tensor, grey: Tensor, mean: Tensor) -> Tensor:
    """`own` parts of (B, 3, h, w), `grey` of its grey and `mean` of its mean grey.

    That is brightness f with f, 0, 0; saturation with f, 1 - f, 0; contrast with f, 0, 1 - f.
    """
    greys = to_grey(x)  # (B, 1, h, w)
    others = (greys * grey).add_(greys.mean(dim=(2, 3), keepdim=True) * mean)  # (B, 1, h, w)
    return others.addcmul(x, own).clamp_(0, 1)  # (B, 3, h, w)


def turn_hue(x: Tensor, turns: Tensor) -> Tensor:
    """(B, 3, h, w) with the hue of HSV moved by `turns` of the full circle."""
    value, low = x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True)  # (B, 1, h, w) each
    chroma = value - low  # (B, 1, h, w)
    hue = (_hue(x, value, chroma) + 6 * turns).remainder_(6)  # (B, 1, h, w) in 0 to 6
    turned = torch.empty_like(x)  # (B, 3, h, w)
    for band, (centre, sign, offset) in zip(torch.split(turned, 1, dim=1), RAMPS, strict=True):
        torch.sub(hue, centre, out=band).abs_().mul_(sign).add_(offset)  # (B, 1, h, w)
    return turned.clamp_(0, 1).mul_(chroma).add_(low)  # (B, 3, h, w)


def _hue(x: Tensor, value: Tensor, chroma: Tensor) -> Tensor:
    """Hue in sextants, -1 to 5, of (B, 3, h, w) -> (B, 1, h, w); 0 where there is no colour."""
    red, green, blue = (x[:, band : band + 1] for band in range(3))  # (B, 1, h, w) each
    per_chroma = chroma.clamp(min=FAINTEST).reciprocal_()  # (B, 1, h, w)
    from_red = (green - blue) * per_chroma  # (B, 1, h, w)
    from_green = ((blue - red) * per_chroma).add_(2)  # (B, 1, h, w)
    from_blue = ((red - green) * per_chroma).add_(4)  # (B, 1, h, w)
    hue = from_green.where(value == green, from_blue)  # (B, 1, h, w)
    return from_red.where(value == red, hue)  # (B, 1, h, w)
