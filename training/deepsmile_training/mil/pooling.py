"""Pooling: a bag's weights, mean and variance, padding excluded (paper eqs 5, 6 and 8)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """The softmax of eq. 5 over real tiles only (RESOLUTIONS row 6): (B, N), (B, N) -> (B, N)."""
    return F.softmax(scores.masked_fill(~mask, -torch.inf), dim=1)  # (B, N)


def attention_mean(z: Tensor, a: Tensor) -> Tensor:
    """Eq. 6: (B, N, H) and (B, N) -> (B, H)."""
    return torch.bmm(a.unsqueeze(1), z).squeeze(1)  # (B, H)


def attention_variance(z: Tensor, a: Tensor, mask: Tensor) -> Tensor:
    """Eq. 8: (B, N, H), (B, N) summing to 1, and (B, N) -> (B, H).

    I_m counts the unmasked tiles, not the non-zero weights (RESOLUTIONS row 3). For one tile
    eq. 8 is 0/0; its variance is 0 here, as I / max(I - 1, 1) makes it.
    """
    # The sum is least at the mean, so nothing flows back through the mean: detached, the
    # gradient is the same, and one matrix product instead of five passes over (B, N, H).
    z_mean = attention_mean(z, a).detach()  # (B, H)
    squared = (z - z_mean.unsqueeze(1)).square_()  # (B, N, H)
    tiles = mask.sum(dim=1, keepdim=True).to(z.dtype)  # (B, 1) I_m
    return tiles / (tiles - 1).clamp(min=1) * attention_mean(squared, a)  # (B, H)
