"""TileEncoder: a backbone from tiles of bytes to features, normalisation inside."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepsmile_training.encoders.backbones import Backbone, make_backbone
from deepsmile_training.export import export_onnx

TILE_PX = 224


class TileEncoder(nn.Module):
    """(B, 224, 224, 3) uint8 -> (B, D) float32: scale to [0, 1], normalise, fit, encode."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.name = backbone.name
        self.feature_dim = backbone.feature_dim
        self.input_px = backbone.input_px
        self.backbone = backbone.module
        self.register_buffer("mean", torch.zeros(3, 1, 1))  # (3, 1, 1)
        self.register_buffer("deviation", torch.ones(3, 1, 1))  # (3, 1, 1)
        self.normalise_by(backbone.mean, backbone.deviation)

    @property
    def device(self) -> torch.device:
        """Where its weights lie, and tiles must."""
        return self.mean.device

    def forward(self, tiles: Tensor) -> Tensor:
        return self.encode_unit(tiles.permute(0, 3, 1, 2).float() / 255)  # (B, D)

    def encode_unit(self, unit: Tensor) -> Tensor:
        """(B, 3, h, w) in [0, 1] -> (B, D)."""
        planes = (unit - self.mean) / self.deviation  # (B, 3, h, w)
        features: Tensor = self.backbone(self._fitted(planes))  # (B, D)
        return features

    def normalise_by(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """Set the colour normalisation, in units of [0, 1]."""
        self.mean.copy_(torch.tensor(mean).view(3, 1, 1))
        self.deviation.copy_(torch.tensor(deviation).view(3, 1, 1))

    def normalise_for(self, tiles: Tensor) -> None:
        """Set the colour normalisation to the mean and deviation of `tiles` (n, h, w, 3)."""
        unit = tiles.float() / 255  # (n, h, w, 3)
        self.mean.copy_(unit.mean(dim=(0, 1, 2)).view(3, 1, 1))
        self.deviation.copy_(unit.std(dim=(0, 1, 2)).view(3, 1, 1))

    def _fitted(self, planes: Tensor) -> Tensor:
        """Planes (B, 3, h, w) in the size that the backbone takes."""
        size = self.input_px
        if size is None or planes.shape[-2:] == (size, size):
            return planes
        return F.interpolate(planes, size=(size, size), mode="bilinear", align_corners=False)


def make_encoder(backbone: str, seed: int) -> TileEncoder:
    """An encoder with He-initialised convolutions (section 4.1.1, He et al. 2015).

    Nothing is downloaded.
    """
    torch.manual_seed(seed)
    encoder = TileEncoder(make_backbone(backbone))
    for part in encoder.backbone.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return encoder


def on_fastest(encoder: TileEncoder) -> TileEncoder:
    """The encoder, moved to the GPU that torch sees; where there is none it stays on the CPU."""
    return encoder.to("cuda" if torch.cuda.is_available() else "cpu")


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
