"""Colour: torchvision's colour jitter on batches, with one factor per picture.

Pictures are (B, 3, h, w) in [0, 1]; factors are (B, 1, 1, 1). All is arithmetic of whole tensors,
so that it runs on the device in half precision.
"""

from torch import Tensor

GREY = (0.2989, 0.587, 0.114)
"""ITU-R 601-2, as torchvision has it."""


def to_grey(x: Tensor) -> Tensor:
    """(B, 3, h, w) -> (B, 1, h, w)."""
    red, green, blue = (x[:, band : band + 1] for band in range(3))  # (B, 1, h, w) each
    grey: Tensor = GREY[0] * red
    return grey.add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])  # (B, 1, h, w)


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """`other` at factor 0, `x` at 1, and on beyond; (B, 3, h, w)."""
    return (x * factor).add_(other * (1 - factor)).clamp_(0, 1)  # (B, 3, h, w)


def brighten(x: Tensor, factor: Tensor) -> Tensor:
    """(B, 3, h, w), black at factor 0."""
    return (x * factor).clamp_(0, 1)  # (B, 3, h, w)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """(B, 3, h, w), its own mean grey at factor 0."""
    return _blend(x, to_grey(x).mean(dim=(2, 3), keepdim=True), factor)  # (B, 3, h, w)


def saturate(x: Tensor, factor: Tensor) -> Tensor:
    """(B, 3, h, w), grey at factor 0."""
    return _blend(x, to_grey(x), factor)  # (B, 3, h, w)


def turn_hue(x: Tensor, turns: Tensor) -> Tensor:
    """(B, 3, h, w) with the hue of HSV moved by `turns` of the full circle."""
    value, low = x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True)  # (B, 1, h, w) each
    chroma = value - low  # (B, 1, h, w)
    hue = (_hue(x, value, chroma) + 6 * turns).remainder_(6)  # (B, 1, h, w) in 0 to 6
    # Over the six sextants a channel is full for two, empty for two, and a ramp between:
    # red |hue - 3| - 1, green 2 - |hue - 2|, blue 2 - |hue - 4|, each cut to [0, 1].
    centre = x.new_tensor([3, 2, 4]).view(3, 1, 1)  # (3, 1, 1)
    sign = x.new_tensor([1, -1, -1]).view(3, 1, 1)  # (3, 1, 1)
    offset = x.new_tensor([-1, 2, 2]).view(3, 1, 1)  # (3, 1, 1)
    ramp = (hue - centre).abs_().mul_(sign).add_(offset).clamp_(0, 1)  # (B, 3, h, w)
    return ramp.mul_(chroma).add_(low)  # (B, 3, h, w)


def _hue(x: Tensor, value: Tensor, chroma: Tensor) -> Tensor:
    """Hue in sextants, -1 to 5, of (B, 3, h, w) -> (B, 1, h, w); 0 where there is no colour."""
    red, green, blue = (x[:, band : band + 1] for band in range(3))  # (B, 1, h, w) each
    per_chroma = (chroma + (chroma == 0)).reciprocal_()  # (B, 1, h, w)
    from_red = (green - blue) * per_chroma  # (B, 1, h, w)
    from_green = ((blue - red) * per_chroma).add_(2)  # (B, 1, h, w)
    from_blue = ((red - green) * per_chroma).add_(4)  # (B, 1, h, w)
    hue = from_green.where(value == green, from_blue)  # (B, 1, h, w)
    return from_red.where(value == red, hue)  # (B, 1, h, w)


JITTERS = (brighten, contrast, saturate, turn_hue)
"""In the order of `Draws.factors`."""
