"""Byte views: what was drawn, done on a CPU to tiles one at a time, in bytes.

Every step rounds and clips to bytes, as torchvision's do with images of bytes. That is some ten
times as fast as the tensors of `views`, and differs from them by less than one of 255 steps in the
mean over a batch.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepsmile.slides.slide import RGB
from deepsmile_training.pretraining.augmentation import ORDERS, Draws
from deepsmile_training.pretraining.colour import GREY

NONE = (1.0, 1.0, 1.0, 0.0)
"""Brightness, contrast, saturation and hue that change nothing."""
HUES = 256
"""Steps of the full circle: hues wrap round as bytes do."""
# Colours of a pixel from its red, green, blue and a constant, (3, 4) each.
ITSELF, BLACK = np.eye(3, 4), np.zeros((3, 4))
ITS_GREY = np.tile((*GREY, 0.0), (3, 1))


def byte_views(tiles: Tensor, draws: Draws, view_px: int) -> Tensor:
    """Tiles (B, S, S, 3) uint8 -> views (B, 3, view_px, view_px) in [0, 1], channels last."""
    views = np.empty((len(tiles), view_px, view_px, 3), np.float32)  # (B, v, v, 3) in huge pages
    drawn = (draws.box.int(), draws.mirrored, draws.factors, draws.order, draws.grey)
    each = zip(tiles.numpy(), views, *(one.tolist() for one in drawn), strict=True)
    for tile, view, box, mirrored, factors, order, grey in each:
        pixels = _resized(_mirrored(_cropped(tile, box), mirrored), view_px)  # (v, v, 3)
        for which in ORDERS[order]:
            if factors[which] != NONE[which]:
                pixels = JITTERS[which](pixels, factors[which])  # (v, v, 3)
        pixels = saturate(pixels, 0.0) if grey else pixels  # (v, v, 3)
        np.multiply(pixels, np.float32(1 / 255), out=view)
    return torch.from_numpy(views).permute(0, 3, 1, 2)  # (B, 3, v, v)


def _cropped(tile: RGB, box: list[int]) -> RGB:
    top, left, height, width = box
    return tile[top : top + height, left : left + width]  # (h, w, 3)


def _mirrored(pixels: RGB, how: list[bool]) -> RGB:
    """(h, w, 3), flipped left-right and top-bottom; then (w, h, 3) if transposed."""
    left_right, top_bottom, transposed = how
    if left_right or top_bottom:
        axis = -1 if left_right and top_bottom else int(left_right)  # as cv2 names them
        pixels = np.asarray(cv2.flip(pixels, axis), np.uint8)  # (h, w, 3)
    if transposed:
        pixels = np.asarray(cv2.transpose(pixels), np.uint8)  # (w, h, 3)
    return pixels


def _resized(pixels: RGB, view_px: int) -> RGB:
    """(h, w, 3) -> (v, v, 3), linear; where a side shrinks with antialiasing, which cv2 has not."""
    size = (view_px, view_px)
    if max(pixels.shape[:2]) <= view_px:
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    planes = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)  # (1, 3, h, w)
    planes = functional.interpolate(planes, size, mode="bilinear", antialias=True)  # (1, 3, v, v)
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())  # (v, v, 3)


def brighten(pixels: RGB, factor: float) -> RGB:
    """(h, w, 3), black at factor 0."""
    return _blend(pixels, BLACK, factor)  # (h, w, 3)


def contrast(pixels: RGB, factor: float) -> RGB:
    """(h, w, 3), its own mean grey at factor 0."""
    mean_grey = BLACK.copy()  # (3, 4)
    mean_grey[:, 3] = np.dot(GREY, cv2.mean(pixels)[:3])
    return _blend(pixels, mean_grey, factor)  # (h, w, 3)


def saturate(pixels: RGB, factor: float) -> RGB:
    """(h, w, 3), grey at factor 0."""
    return _blend(pixels, ITS_GREY, factor)  # (h, w, 3)


def turn_hue(pixels: RGB, turns: float) -> RGB:
    """(h, w, 3) with the hue of HSV moved by `turns` of the full circle, in steps of 1/256."""
    hsv = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL), np.uint8)  # (h, w, 3)
    lines = hsv.reshape(len(hsv), -1)  # (h, 3 w): whole lines are twice as fast as every third byte
    moved = np.zeros(lines.shape[1], np.uint8)  # (3 w,)
    moved[::3] = round(turns * HUES) % HUES
    lines += moved
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), np.uint8)  # (h, w, 3)


JITTERS: tuple[Callable[[RGB, float], RGB], ...] = (brighten, contrast, saturate, turn_hue)
"""In the order of `Draws.factors`."""


def _blend(pixels: RGB, other: NDArray[np.float64], factor: float) -> RGB:
    """`other`, (3, 4) of the colours, at factor 0, (h, w, 3) itself at 1, and on beyond."""
    mixed = factor * ITSELF + (1 - factor) * other  # (3, 4)
    return np.asarray(cv2.transform(pixels, mixed), np.uint8)  # (h, w, 3)
