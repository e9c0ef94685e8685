"""Heads: from a bag of tile features to logits, one class per way of pooling.

Every head maps features (B, N, H) and a mask (B, N), true for tiles and at least once per bag,
to logits (B, C) and attention (B, N) that sums to 1 over a bag's tiles and is 0 in the padding.
The letters are the paper's: z features, a attention, I_m tiles, nu width of the attention MLP.
The sigmoid of eqs 7 and 10 over two outputs is read as a softmax, applied outside (RESOLUTIONS
row 7).
"""

from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from deepsmile_training.mil.pooling import attention_mean, attention_variance, masked_softmax

NU = 128
"""Width of the attention MLP, paper section 4.2.2."""
CLASSES = 2
STD_EPS = 1e-6
"""Added to a variance before its root, whose slope is infinite at 0 (RESOLUTIONS row 4)."""
DROPOUT = 0.5
STATISTICS_TILES = 1024

Spread = Literal["variance", "std"]


class Head(nn.Module):
    """What all heads share: standardised features, and an optional MLP on each tile.

    Features stay as they are until `standardise_for` is given the training tiles, whose mean and
    deviation become constants of the exported graph. Eqs 5 to 10 have no such step (RESOLUTIONS
    row 23); without it 16 epochs are too few for features of an encoder of other scales.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, feature_dim: int, embedding: Sequence[int] = ()) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))  # (H,)
        self.register_buffer("deviation", torch.ones(feature_dim))  # (H,)
        layers: list[nn.Module] = []
        for width_in, width_out in zip((feature_dim, *embedding), embedding, strict=False):
            layers += [nn.Linear(width_in, width_out), nn.ReLU(), nn.Dropout(DROPOUT)]
        self.embedding = nn.Sequential(*layers)
        self.width = embedding[-1] if embedding else feature_dim

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, N, H), mask (B, N) -> logits (B, C), a (B, N)."""
        return self.judge(self.standardise(features), mask)

    def standardise(self, features: Tensor) -> Tensor:
        """The shape stays."""
        return (features - self.mean).div_(self.deviation)

    def judge(self, standardised: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` from standardised features on; training standardises once, and calls this."""
        return self.pool(self.embedding(standardised), mask)

    def pool(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, N, H), mask (B, N) -> logits (B, C), a (B, N)."""
        raise NotImplementedError

    @torch.no_grad()
    def standardise_for(self, tiles: Tensor) -> None:
        """Standardise with the statistics of `tiles` (n, H); constant features are centred only."""
        # From the first tile, so that the mean of a constant is exact; in parts that fit a cache,
        # which takes a quarter of the time of torch.std_mean.
        first, parts = tiles[0], torch.split(tiles, STATISTICS_TILES)
        offsets = torch.stack([(part - first).sum(dim=0) for part in parts])  # (parts, H)
        self.mean.copy_(first + offsets.sum(dim=0) / len(tiles))
        squares = torch.stack([(part - self.mean).square_().sum(dim=0) for part in parts])
        deviation = (squares.sum(dim=0) / len(tiles)).sqrt()  # (H,)
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))


class Options(TypedDict, total=False):
    """What DeepMIL and its kin can be given; DeepMIL has the defaults."""

    nu: int
    classes: int
    embedding: Sequence[int]
    he: bool


class DeepMIL(Head):
    """Attention-weighted mean, one linear layer (section 4.2.2)."""

    moments = 1

    def __init__(
        self,
        feature_dim: int,
        *,
        nu: int = NU,
        classes: int = CLASSES,
        embedding: Sequence[int] = (),
        he: bool = True,
    ) -> None:
        super().__init__(feature_dim, embedding)
        self.hidden = nn.Linear(self.width, nu)  # W_1, b_1
        self.weigh = nn.Linear(nu, 1)  # W_2, b_2
        self.classify = nn.Linear(self.moments * self.width, classes)  # W_xi, b_xi
        if he:
            he_initialise(self)

    def pool(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        a = self.attend(z, mask)  # (B, N)
        logits: Tensor = self.classify(self.represent(z, a, mask))  # (B, C) eqs 7 and 10
        return logits, a

    def attend(self, z: Tensor, mask: Tensor) -> Tensor:
        """Eq. 5: (B, N, H) -> (B, N)."""
        scores = self.weigh(torch.tanh(self.hidden(z))).squeeze(2)  # (B, N)
        return masked_softmax(scores, mask)  # (B, N)

    def represent(self, z: Tensor, a: Tensor, mask: Tensor) -> Tensor:
        """Eq. 6: (B, N, H), (B, N), (B, N) -> (B, moments H)."""
        return attention_mean(z, a)  # (B, H)


class VarMIL(DeepMIL):
    """DeepMIL with the attention-weighted variance beside the mean (section 4.2.3).

    `spread="std"` takes the root of it, as the paper's appendix A does (RESOLUTIONS row 4).
    """

    moments = 2

    def __init__(
        self, feature_dim: int, *, spread: Spread = "variance", **options: Unpack[Options]
    ) -> None:
        super().__init__(feature_dim, **options)
        self.spread = spread

    def represent(self, z: Tensor, a: Tensor, mask: Tensor) -> Tensor:
        """Eq. 9: (B, N, H), (B, N), (B, N) -> (B, 2 H)."""
        spread = attention_variance(z, a, mask)  # (B, H)
        if self.spread == "std":
            spread = (spread + STD_EPS).sqrt()  # (B, H)
        return torch.cat([attention_mean(z, a), spread], dim=1)  # (B, 2 H)


class GatedMIL(DeepMIL):
    """DeepMIL whose attention is gated: tanh(V z) * sigmoid(U z) (Ilse et al. 2018, eq. 9)."""

    def __init__(self, feature_dim: int, **options: Unpack[Options]) -> None:
        super().__init__(feature_dim, **options)
        self.gate = nn.Linear(self.width, self.hidden.out_features)  # U
        if options.get("he", True):
            he_initialise(self.gate)

    def attend(self, z: Tensor, mask: Tensor) -> Tensor:
        """(B, N, H) -> (B, N)."""
        gated = torch.tanh(self.hidden(z)) * torch.sigmoid(self.gate(z))  # (B, N, nu)
        return masked_softmax(self.weigh(gated).squeeze(2), mask)  # (B, N)


class MeanMIL(Head):
    """The mean of the tiles, one linear layer; every tile has the same attention, 1 / I_m."""

    def __init__(
        self,
        feature_dim: int,
        *,
        classes: int = CLASSES,
        embedding: Sequence[int] = (),
        he: bool = True,
    ) -> None:
        super().__init__(feature_dim, embedding)
        self.classify = nn.Linear(self.width, classes)
        if he:
            he_initialise(self)

    def pool(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        a = mask.to(z.dtype) / mask.sum(dim=1, keepdim=True)  # (B, N)
        logits: Tensor = self.classify(attention_mean(z, a))  # (B, C)
        return logits, a


class MaxMIL(MeanMIL):
    """The largest value of each feature, one linear layer.

    A tile's attention is the share of features that are largest in it (the first tile, if in
    several).
    """

    def pool(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        largest, where = z.masked_fill(~mask.unsqueeze(2), -torch.inf).max(dim=1)  # (B, H) each
        logits: Tensor = self.classify(largest)  # (B, C)
        shares = torch.full_like(largest, 1 / self.width)  # (B, H)
        return logits, torch.zeros_like(z[..., 0]).scatter_add(1, where, shares)  # (B, C), (B, N)


def he_initialise(module: nn.Module) -> None:
    """He et al.'s normal initialisation of all linear layers, biases 0 (section 4.2.2)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
