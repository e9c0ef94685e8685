"""TransMIL: tiles that see each other, a modern control for the heads that pool (Shao et al. 2021).

Faithful: a linear layer, tiles repeated up to a square, class token, attention, PPEG, attention.
Two deviations: attention is exact (torch's fused kernel) where theirs is a Nystrom approximation,
and so their convolution over the values, which mends that approximation, is left out.
The order of a bag's tiles matters here: it lays the square.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepsmile_training.mil.heads import CLASSES, Head, he_initialise

WIDTH = 512
HEADS = 8
KERNELS = (7, 5, 3)


class TransMIL(Head):
    """Attention is what the class token gives to each tile in the last layer, mean over heads."""

    def __init__(
        self,
        feature_dim: int,
        *,
        width: int = WIDTH,
        heads: int = HEADS,
        classes: int = CLASSES,
        he: bool = True,
    ) -> None:
        super().__init__(feature_dim)
        self.reduce = nn.Linear(feature_dim, width)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.first = SelfAttention(width, heads)
        self.position = PPEG(width)
        self.last = SelfAttention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, classes)
        if he:
            he_initialise(self)

    def pool(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        square = Square(mask)
        tiles = square.fill(F.relu(self.reduce(z)))  # (B, L, W)
        seen = F.pad(square.mask, (1, 0), value=True)  # (B, 1 + L) the token first
        x = torch.cat([self.token.expand(len(z), -1, -1), tiles], dim=1)  # (B, 1 + L, W)
        x = x + self.first(x, seen)  # (B, 1 + L, W)
        x = torch.cat([x[:, :1], self.position(x[:, 1:], square)], dim=1)  # (B, 1 + L, W)
        change, weights = self.last.of_token(x, seen)  # (B, W), (B, 1 + L)
        logits: Tensor = self.classify(self.norm(x[:, 0] + change))  # (B, C)
        a = square.gather_back(weights[:, 1:], z.shape[1])  # (B, N)
        return logits, a / a.sum(dim=1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)


class Square:
    """Each bag's tiles as its own square, side ceil(sqrt(I_m)), filled up with its first tiles.

    Each bag has its own side, whatever it is padded to, so padding changes nothing.
    """

    def __init__(self, mask: Tensor) -> None:
        tiles = mask.sum(dim=1, keepdim=True)  # (B, 1) I_m
        self.side = tiles.to(torch.float64).sqrt().ceil().long()  # (B, 1)
        self.largest = int(self.side.max())
        step = torch.arange(self.largest**2, device=mask.device).unsqueeze(0)  # (1, L)
        self.mask = step < self.side**2  # (B, L)
        repeated = torch.where(step < tiles, step, step - tiles)  # (B, L)
        self.source = torch.where(self.mask, repeated, 0)  # (B, L) tile at each step
        row, column = step // self.largest, step % self.largest  # (1, L)
        self.inside = (row < self.side) & (column < self.side)  # (B, L)
        self.step_of_cell = torch.where(self.inside, row * self.side + column, 0)  # (B, L)
        cell = step // self.side * self.largest + step % self.side  # (B, L)
        self.cell_of_step = torch.where(self.mask, cell, 0)  # (B, L)

    def fill(self, x: Tensor) -> Tensor:
        """Tiles (B, N, W) -> steps (B, L, W)."""
        return _take(x, self.source)

    def as_image(self, steps: Tensor) -> Tensor:
        """(B, L, W) -> (B, W, S, S), zero outside a bag's own square."""
        cells = _take(steps, self.step_of_cell) * self.inside.unsqueeze(2)  # (B, L, W)
        return cells.transpose(1, 2).reshape(len(steps), -1, self.largest, self.largest)

    def as_steps(self, image: Tensor) -> Tensor:
        """(B, W, S, S) -> (B, L, W)."""
        return _take(image.flatten(2).transpose(1, 2), self.cell_of_step)

    def gather_back(self, weights: Tensor, tiles: int) -> Tensor:
        """Weights of steps (B, L) -> of tiles (B, N); a repeated tile's are added up."""
        empty = weights.new_zeros(len(weights), tiles)  # (B, N)
        return empty.scatter_add(1, self.source, weights * self.mask)  # (B, N)


def _take(x: Tensor, index: Tensor) -> Tensor:
    """(B, n, W) and (B, L) -> (B, L, W)."""
    return x.gather(1, index.unsqueeze(2).expand(-1, -1, x.shape[2]))


class PPEG(nn.Module):
    """Position from the neighbours in the square: three depthwise convolutions, added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, size, padding=size // 2, groups=width) for size in KERNELS
        )

    def forward(self, steps: Tensor, square: Square) -> Tensor:
        """(B, L, W) -> (B, L, W)."""
        image = square.as_image(steps)  # (B, W, S, S)
        for convolution in self.convolutions:
            steps = steps + square.as_steps(convolution(image))  # (B, L, W)
        return steps


class SelfAttention(nn.Module):
    """Layer norm and multi-head attention; the caller adds the residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x (B, L, W), seen (B, L) -> (B, L, W)."""
        q, k, v = self._split(x)  # (B, heads, L, W / heads) each
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None])
        joined: Tensor = self.join(mixed.transpose(1, 2).flatten(2))  # (B, L, W)
        return joined

    def of_token(self, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """What the first step sees: change (B, W), and its weights (B, L), mean over heads."""
        q, k, v = self._split(x)  # (B, heads, L, W / heads) each
        scores = (q[:, :, :1] @ k.transpose(2, 3)) * q.shape[3] ** -0.5  # (B, heads, 1, L)
        weights = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(dim=3)
        change: Tensor = self.join((weights @ v).flatten(1))  # (B, W)
        return change, weights.mean(dim=1).squeeze(1)  # (B, W), (B, L)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined = self.queries_keys_values(self.norm(x))  # (B, L, 3 W)
        split = joined.view(*joined.shape[:2], 3, self.heads, -1)  # (B, L, 3, heads, W / heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # (B, heads, L, W / heads) each
        return q, k, v
