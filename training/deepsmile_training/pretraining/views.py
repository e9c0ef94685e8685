"""Views: what was drawn, done to a batch of tiles on their device."""

import torch
from torch import Tensor

from deepsmile_training.pretraining.augmentation import CONTRAST, HUE, ORDERS, SATURATION, Draws
from deepsmile_training.pretraining.byte_views import byte_views
from deepsmile_training.pretraining.colour import mix, turn_hue


def make_views(tiles: Tensor, draws: Draws, view_px: int) -> Tensor:
    """Tiles (B, S, S, 3) uint8 -> views (B, 3, view_px, view_px) in [0, 1], where the tiles are.

    Whole batches suit a GPU and tiles one at a time a CPU's cache; the two differ by rounding. Half
    precision is enough for a GPU: its 11 bits are more than the bytes had.
    """
    if tiles.device.type == "cpu":
        return byte_views(tiles, draws, view_px)  # (B, 3, v, v)
    return tensor_views(tiles, draws, view_px, torch.float16)  # (B, 3, v, v)


def tensor_views(
    tiles: Tensor, draws: Draws, view_px: int, kind: torch.dtype = torch.float32
) -> Tensor:
    """Tiles (B, S, S, 3) uint8 -> views (B, 3, view_px, view_px) in [0, 1].

    The device is never waited for: what the number of views of a kind depends on is asked on the
    CPU, where all was drawn.
    """
    views = crop_and_resize(tiles, draws, view_px, kind)  # (B, 3, v, v)
    return _coloured(views, draws)  # (B, 3, v, v)


def crop_and_resize(tiles: Tensor, draws: Draws, view_px: int, kind: torch.dtype) -> Tensor:
    """Crop, mirror and resize with antialiasing, (B, S, S, 3) -> (B, 3, v, v) in [0, 1].

    Resampling is linear and separable, so it is two products of matrices for the whole batch;
    a mirror is a reversed matrix.
    """
    batch, source_px, _, _ = tiles.shape
    top, left, height, width = _sent(draws.box, tiles.device).unbind(dim=1)  # (B,) each
    mirrored = _sent(draws.mirrored, tiles.device)  # (B, 3)
    left_right, top_bottom, transposed = mirrored.unbind(dim=1)  # (B,) each
    down = _resampling(top, height, top_bottom, source_px, view_px)  # (B, v, S)
    across = _resampling(left, width, left_right, source_px, view_px)  # (B, v, S)
    down, across = down.to(kind), across.to(kind)
    lines = tiles.reshape(batch, source_px, -1).to(kind).div_(255)  # (B, S, 3 S)
    lines = (down @ lines).view(batch, view_px, source_px, 3)  # (B, v, S, 3)
    planes = lines.permute(0, 3, 1, 2).reshape(batch, -1, source_px)  # (B, 3 v, S)
    views = (planes @ across.mT).view(batch, 3, view_px, view_px)  # (B, 3, v, v)
    if not draws.mirrored[:, 2].any():
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


def _coloured(views: Tensor, draws: Draws) -> Tensor:
    """Colour jitter (B, 3, v, v), each view in its own order, then grey where that was drawn.

    Four passes for all orders: three of the jitters are mixtures, which views can have together;
    a view's hue is turned in the pass whose mixture leaves it as it is.
    """
    jitters = torch.tensor(ORDERS)[draws.order]  # (B, 4) one in each pass
    *passes, last = _sent(_mixtures(draws, jitters).to(views.dtype), views.device)
    in_pass = (jitters == HUE).int().argmax(dim=1)  # (B,)
    sizes = in_pass.bincount(minlength=4).tolist()
    by_pass = in_pass.argsort()  # (B,)
    turns = draws.factors[by_pass, HUE].to(views.dtype).view(-1, 1, 1, 1)  # (B, 1, 1, 1)
    turned = (torch.split(_sent(each, views.device), sizes) for each in (by_pass, turns))
    for parts, rows, some in zip(passes, *turned, strict=True):
        views = mix(views, *parts)  # (B, 3, v, v)
        if len(rows):
            views[rows] = turn_hue(views[rows], some)
    return mix(views, *last)  # (B, 3, v, v)


def _mixtures(draws: Draws, jitters: Tensor) -> Tensor:
    """Parts of itself, its grey and its mean grey in each view's passes, the last one for grey.

    Jitters (B, 4) -> (5, 3, B, 1, 1, 1).
    """
    factors = draws.factors.gather(1, jitters).where(jitters != HUE, 1.0)  # (B, 4)
    rest = 1 - factors  # (B, 4)
    mixed = torch.stack(
        [factors, rest * (jitters == SATURATION), rest * (jitters == CONTRAST)]
    )  # (3, B, 4)
    grey = draws.grey.float()  # (B,)
    last = torch.stack([1 - grey, grey, torch.zeros_like(grey)])  # (3, B)
    return torch.cat([mixed, last.unsqueeze(2)], dim=2).permute(2, 0, 1)[..., None, None, None]


def _sent(drawn: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for it."""
    if device.type != "cuda":
        return drawn.to(device)
    return drawn.pin_memory().to(device, non_blocking=True)
