"""BYOL: predict how a slow copy of oneself sees the other view (paper appendix B.1)."""

import copy
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepsmile_training.encoders.tile_encoder import TileEncoder
from deepsmile_training.pretraining.outcome import Outcome


class BYOL(nn.Module):
    """Online encoder, projector and predictor; a target that follows the first two.

    The loss is that of Grill et al. 2020, eq. 2, both ways: 2 - 2 cos(prediction, target) of each
    view, the target seeing the other one.
    """

    def __init__(
        self, encoder: TileEncoder, projector: nn.Module, predictor: nn.Module, momentum: float
    ) -> None:
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.target_encoder, self.target_projector = copy.deepcopy((encoder, projector))
        self.momentum = momentum
        for _, follower in self._pairs():
            follower.requires_grad_(False)

    def forward(self, views: Tensor) -> Outcome:
        z = self.projector(self.encoder.encode_unit(views))  # (2 B, d)
        with torch.no_grad():
            target = self.target_projector(self.target_encoder.encode_unit(views))  # (2 B, d)
        other = target.unflatten(0, (2, -1)).flip(0).flatten(0, 1)  # (2 B, d)
        cosine = F.cosine_similarity(self.predictor(z).float(), other.float())  # (2 B,)
        return Outcome(2 * (2 - 2 * cosine).mean(), z.unflatten(0, (2, -1)))

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """The target moves by 1 - tau of the way; tau rises to 1 along a cosine (section 3.3)."""
        tau = 1 - (1 - self.momentum) * (math.cos(math.pi * progress) + 1) / 2
        for leader, follower in self._pairs():
            follower.lerp_(leader, 1 - tau)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        for leader, follower in (
            (self.encoder, self.target_encoder),
            (self.projector, self.target_projector),
        ):
            yield from zip(leader.parameters(), follower.parameters(), strict=True)
