"""NT-Xent, SimCLR's loss (paper section 4.1.1; Chen et al. 2020, eq. 1 and Algorithm 1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from deepsmile_training.pretraining.distributed import World

TEMPERATURE = 0.5
"""RESOLUTIONS row 10: the authors' value; the paper says "as Chen et al."."""


def nt_xent(z: Tensor, temperature: float, world: World) -> Tensor:
    """Mean loss of this rank's 2 B anchors z (2, B, d), negatives being the views of all ranks.

    The mean of this over ranks is the loss of the joined batch, and so is its gradient.
    """
    with torch.autocast(z.device.type, enabled=False):  # it would multiply in bfloat16
        z = F.normalize(z.float(), dim=2)  # (2, B, d)
        everyone = world.gather(z, dim=1).flatten(0, 1)  # (2 R B, d)
        pairs = z.shape[1]
        total = len(everyone) // 2  # R B
        similarity = z.flatten(0, 1) @ everyone.T / temperature  # (2 B, 2 R B)
        own = torch.arange(pairs, device=z.device) + world.rank * pairs  # (B,)
        itself = torch.cat([own, own + total])  # (2 B,)
        partner = torch.cat([own + total, own])  # (2 B,)
        similarity = similarity.scatter(1, itself.unsqueeze(1), -torch.inf)  # (2 B, 2 R B)
        return F.cross_entropy(similarity, partner)
