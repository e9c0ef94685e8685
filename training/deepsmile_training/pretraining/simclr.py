"""SimCLR: two views of a tile attract, all others repel (paper section 4.1.1)."""

from torch import Tensor, nn

from deepsmile_training.encoders.tile_encoder import TileEncoder
from deepsmile_training.pretraining.distributed import World
from deepsmile_training.pretraining.ntxent import nt_xent
from deepsmile_training.pretraining.outcome import Outcome


class SimCLR(nn.Module):
    """Encoder, projection head and NT-Xent over all ranks."""

    def __init__(
        self, encoder: TileEncoder, head: nn.Module, temperature: float, world: World
    ) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.temperature, self.world = temperature, world

    def forward(self, views: Tensor) -> Outcome:
        z = self.head(self.encoder.encode_unit(views))  # (2 B, d)
        z = z.unflatten(0, (2, -1))  # (2, B, d)
        return Outcome(nt_xent(z, self.temperature, self.world), z)

    def after_step(self, progress: float) -> None:
        """Nothing moves but by gradient."""
