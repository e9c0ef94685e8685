"""Encoder: ShuffleNetV2 x1.0 from tiles of bytes to features, normalisation inside."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import shufflenet_v2_x1_0

from deepsmile_training.export import export_onnx

FEATURE_DIM = 1024
TILE_PX = 224


class TileEncoder(nn.Module):
    """(B, 224, 224, 3) uint8 -> (B, 1024) float32: scale to [0, 1], normalise, encode, average.

    The backbone is the paper's for breast cancer (section 4.1.1), without its classifier and
    initialised after He et al. 2015.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.backbone = shufflenet_v2_x1_0(weights=None)
        self.backbone.fc = nn.Identity()
        self.register_buffer("mean", torch.zeros(3, 1, 1))  # (3, 1, 1)
        self.register_buffer("deviation", torch.ones(3, 1, 1))  # (3, 1, 1)
        for part in self.backbone.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")

    def forward(self, tiles: Tensor) -> Tensor:
        return self.encode_unit(tiles.permute(0, 3, 1, 2).float() / 255)  # (B, D)

    def encode_unit(self, unit: Tensor) -> Tensor:
        """(B, 3, h, w) in [0, 1] -> (B, D)."""
        features: Tensor = self.backbone((unit - self.mean) / self.deviation)  # (B, D)
        return features

    def normalise_for(self, tiles: Tensor) -> None:
        """Set the colour normalisation to the mean and deviation of `tiles` (n, h, w, 3)."""
        unit = tiles.float() / 255  # (n, h, w, 3)
        self.mean.copy_(unit.mean(dim=(0, 1, 2)).view(3, 1, 1))
        self.deviation.copy_(unit.std(dim=(0, 1, 2)).view(3, 1, 1))


def make_encoder(seed: int) -> TileEncoder:
    """A He-initialised encoder; nothing is downloaded."""
    torch.manual_seed(seed)
    return TileEncoder()


@torch.no_grad()
def settle_batch_norm(encoder: TileEncoder, tiles: Tensor, batch: int = 32) -> None:
    """Set every batch norm's statistics to their averages over `tiles` (n, 224, 224, 3)."""
    norms = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    encoder.train()
    for some in torch.split(tiles, batch):
        encoder(some)
    encoder.eval()


def export_encoder(encoder: TileEncoder, path: Path) -> None:
    """Write the ONNX graph `tiles` -> `features`; batch norms are folded into convolutions."""
    example = torch.zeros(2, TILE_PX, TILE_PX, 3, dtype=torch.uint8)  # (2, 224, 224, 3)
    export_onnx(
        encoder, example, path, input_name="tiles", output_names=["features"], dynamic={0: "batch"}
    )
