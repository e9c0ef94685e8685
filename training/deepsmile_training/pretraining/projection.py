"""Projection: from features to the space of the loss; thrown away after training."""

from typing import Literal

from torch import nn

Head = Literal["mlp", "linear2"]
"""`mlp`: Chen et al.'s; `linear2`: what the authors' released code computes, two linear layers
with nothing between them (RESOLUTIONS row 11)."""


def simclr_head(kind: Head, feature_dim: int, embedding_dim: int) -> nn.Sequential:
    """(B, D) -> (B, embedding_dim)."""
    between = nn.ReLU() if kind == "mlp" else nn.Identity()
    first, second = nn.Linear(feature_dim, feature_dim), nn.Linear(feature_dim, embedding_dim)
    return he_initialised(nn.Sequential(first, between, second))


def byol_head(width: int, hidden: int, embedding_dim: int) -> nn.Sequential:
    """Projector and predictor of BYOL (Grill et al. 2020, section 3.3)."""
    layers = nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()
    return he_initialised(nn.Sequential(*layers, nn.Linear(hidden, embedding_dim)))


def he_initialised(head: nn.Sequential) -> nn.Sequential:
    """He et al. 2015 (section 4.1.1), biases zero."""
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return head
