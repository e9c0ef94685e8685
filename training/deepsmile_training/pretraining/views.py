"""Views: what was drawn, done to a batch of tiles on their device."""

import torch
from torch import Tensor

from deepsmile_training.pretraining.augmentation import ORDERS, Draws
from deepsmile_training.pretraining.byte_views import byte_views
from deepsmile_training.pretraining.colour import JITTERS, saturate


def make_views(tiles: Tensor, draws: Draws, view_px: int) -> Tensor:
    """Tiles (B, S, S, 3) uint8 -> views (B, 3, view_px, view_px) in [0, 1], where the tiles are.

    Whole batches suit a GPU and tiles one at a time a CPU's cache; the two differ by rounding.
    """
    make = byte_views if tiles.device.type == "cpu" else tensor_views
    return make(tiles, draws, view_px)  # (B, 3, v, v)


def tensor_views(tiles: Tensor, draws: Draws, view_px: int) -> Tensor:
    """Tiles (B, S, S, 3) uint8 -> views (B, 3, view_px, view_px) in [0, 1].

    In half precision on a GPU, where 11 bits are more than the bytes had.
    """
    kind = torch.float16 if tiles.is_cuda else torch.float32
    views = crop_and_resize(tiles, draws, view_px, kind)  # (B, 3, v, v)
    views = _jittered(views, draws)  # (B, 3, v, v)
    colour = (~draws.grey).to(views.device, kind).view(-1, 1, 1, 1)  # (B, 1, 1, 1)
    return saturate(views, colour)  # (B, 3, v, v)


def crop_and_resize(tiles: Tensor, draws: Draws, view_px: int, kind: torch.dtype) -> Tensor:
    """Crop, mirror and resize with antialiasing, (B, S, S, 3) -> (B, 3, v, v) in [0, 1].

    Resampling is linear and separable, so it is two products of matrices for the whole batch;
    a mirror is a reversed matrix.
    """
    batch, source_px, _, _ = tiles.shape
    top, left, height, width = draws.box.to(tiles.device).unbind(dim=1)  # (B,) each
    left_right, top_bottom, transposed = draws.mirrored.to(tiles.device).unbind(dim=1)  # (B,) each
    down = _resampling(top, height, top_bottom, source_px, view_px)  # (B, v, S)
    across = _resampling(left, width, left_right, source_px, view_px)  # (B, v, S)
    down, across = down.to(kind), across.to(kind)
    lines = tiles.reshape(batch, source_px, -1).to(kind).div_(255)  # (B, S, 3 S)
    lines = (down @ lines).view(batch, view_px, source_px, 3)  # (B, v, S, 3)
    planes = lines.permute(0, 3, 1, 2).reshape(batch, -1, source_px)  # (B, 3 v, S)
    views = (planes @ across.mT).view(batch, 3, view_px, view_px)  # (B, 3, v, v)
    if not draws.mirrored[:, 2].any():  # asked on the CPU: the device need not be waited for
        return views
    return views.mT.where(transposed.view(-1, 1, 1, 1), views)  # (B, 3, v, v)


def _resampling(
    start: Tensor, length: Tensor, mirrored: Tensor, source_px: int, view_px: int
) -> Tensor:
    """Weights (B, v, S) of a triangle filter over px `start` to `start + length`, all (B,)."""
    device = start.device
    places = (torch.arange(view_px, device=device) + 0.5).expand(len(start), -1)  # (B, v)
    places = torch.where(mirrored.unsqueeze(1), view_px - places, places)  # (B, v)
    scale = (length / view_px).unsqueeze(1)  # (B, 1)
    centres = start.unsqueeze(1) + places * scale  # (B, v)
    pixels = torch.arange(source_px, device=device) + 0.5  # (S,)
    apart = (pixels - centres.unsqueeze(2)).abs_()  # (B, v, S)
    weights = (1 - apart.div_(scale.clamp(min=1).unsqueeze(2))).clamp_(min=0)  # (B, v, S)
    end = (start + length).unsqueeze(1)  # (B, 1)
    inside = (pixels > start.unsqueeze(1)) & (pixels < end)  # (B, S)
    weights = weights.mul_(inside.unsqueeze(1))  # (B, v, S)
    return weights.div_(weights.sum(dim=2, keepdim=True))  # (B, v, S)


def _jittered(views: Tensor, draws: Draws) -> Tensor:
    """Colour jitter (B, 3, v, v), each view in its own order; views of one order go together."""
    by_order = draws.order.argsort(stable=True)  # (B,)
    sizes = draws.order.bincount(minlength=len(ORDERS)).tolist()
    factors = draws.factors[by_order].to(views.device, views.dtype).view(-1, 4, 1, 1, 1)
    places = by_order.to(views.device)  # (B,)
    jittered = torch.empty_like(views)  # (B, 3, v, v)
    groups = zip(ORDERS, torch.split(places, sizes), torch.split(factors, sizes), strict=True)
    for order, rows, strengths in groups:
        if len(rows):
            some = views[rows]  # (b, 3, v, v)
            for which in order:
                some = JITTERS[which](some, strengths[:, which])  # (b, 3, v, v)
            jittered[rows] = some
    return jittered
