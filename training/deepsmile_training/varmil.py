"""VarMIL: from a bag of tile features to two logits (paper sections 4.2.2 and 4.2.3, eqs 5-10).

The letters are the paper's: z features, a attention, I_m tiles, nu width of the attention MLP.
Eq. 10's sigmoid over two outputs is read as a softmax, applied outside (RESOLUTIONS row 7).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NU = 128
"""Width of the attention MLP, paper section 4.2.2."""
CLASSES = 2


def attention_mean(z: Tensor, a: Tensor) -> Tensor:
    """Eq. 6: (B, N, H) and (B, N) -> (B, H)."""
    return torch.bmm(a.unsqueeze(1), z).squeeze(1)  # (B, H)


def attention_variance(z: Tensor, a: Tensor, mask: Tensor) -> Tensor:
    """Eq. 8: (B, N, H), (B, N) and (B, N) -> (B, H).

    I_m counts the unmasked tiles, not the non-zero weights (RESOLUTIONS row 3). For one tile
    eq. 8 is 0/0; its variance is 0 here, as I / max(I - 1, 1) makes it.
    """
    z_mean = attention_mean(z, a)  # (B, H)
    squared = (z - z_mean.unsqueeze(1)) ** 2  # (B, N, H)
    tiles = mask.sum(dim=1, keepdim=True).to(z.dtype)  # (B, 1) I_m
    return tiles / (tiles - 1).clamp(min=1) * attention_mean(squared, a)  # (B, H)


class VarMIL(nn.Module):
    """Attention, mean and variance, one linear layer; He-initialised (section 4.2.2).

    Features are standardised first, with the mean and deviation of the training tiles, which
    become constants of the exported graph. The paper does not say this; without it 16 epochs
    are too few for features of an encoder of other scales.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, feature_dim: int, nu: int = NU) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))  # (H,)
        self.register_buffer("deviation", torch.ones(feature_dim))  # (H,)
        self.hidden = nn.Linear(feature_dim, nu)  # W_1, b_1
        self.weigh = nn.Linear(nu, 1)  # W_2, b_2
        self.classify = nn.Linear(2 * feature_dim, CLASSES)  # W_psi, b_psi
        for layer in (self.hidden, self.weigh, self.classify):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, N, H), mask (B, N) true for tiles, >= 1 each -> logits (B, 2), a (B, N)."""
        z = (features - self.mean) / self.deviation  # (B, N, H)
        a = self.attend(z, mask)  # (B, N)
        moments = [attention_mean(z, a), attention_variance(z, a, mask)]  # (B, H) each
        logits: Tensor = self.classify(torch.cat(moments, dim=1))  # (B, 2) eqs 9 and 10
        return logits, a

    def attend(self, z: Tensor, mask: Tensor) -> Tensor:
        """Eq. 5, padding excluded before the softmax (RESOLUTIONS row 6): (B, N, H) -> (B, N)."""
        scores = self.weigh(torch.tanh(self.hidden(z))).squeeze(2)  # (B, N)
        return F.softmax(scores.masked_fill(~mask, -torch.inf), dim=1)  # (B, N)

    @torch.no_grad()
    def standardise_for(self, tiles: Tensor) -> None:
        """Standardise with the statistics of `tiles` (n, H); constant features are centred only."""
        deviation, mean = torch.std_mean(tiles, dim=0, correction=0)  # (H,) each
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))


class Ensemble(nn.Module):
    """M members as one graph: features (N, H) -> logits (M, 2), attention (M, N)."""

    def __init__(self, members: list[VarMIL]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.feature_dim = len(members[0].mean)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        bag = features.unsqueeze(0)  # (1, N, H)
        mask = torch.ones_like(bag[..., 0], dtype=torch.bool)  # (1, N)
        answers = [member(bag, mask) for member in self.members]
        logits = torch.cat([logits for logits, _ in answers])  # (M, 2)
        return logits, torch.cat([a for _, a in answers])  # (M, 2), (M, N)


def pad_bags(bags: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Bags (N_b, H) -> features (B, N, H) padded with zeros, mask (B, N)."""
    features = nn.utils.rnn.pad_sequence(bags, batch_first=True)  # (B, N, H)
    sizes = torch.tensor([len(bag) for bag in bags])  # (B,)
    return features, torch.arange(features.shape[1]) < sizes.unsqueeze(1)  # (B, N, H), (B, N)
