"""Prepare: one ResNet18 for all, as a state dict for the peers and as two bundles for us."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks.inputs import EXAMPLE_TILES, throwaway_bundle
from benchmarks.peers.network import Network, as_planes
from benchmarks.peers.protocol import TILE_PX, TILE_UM
from benchmarks.precision import tissue_tiles
from deepsmile.bundle import Bundle
from deepsmile.precision import CPU_FACTS, saturates
from deepsmile.slides.slide import RGB
from deepsmile_training.export import export_onnx
from deepsmile_training.variants.precision import write_int8

ARCHITECTURE = "resnet18"
SETTLING_BATCH = 32


@dataclass(frozen=True)
class Models:
    """The same network three times."""

    weights: Path
    """State dict, for the peers."""
    fp32: Bundle
    int8: Bundle


class Graph(nn.Module):
    """(B, 224, 224, 3) uint8 -> (B, 512): the network with its normalisation inside."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.trunk = Network(weights, keep=False).trunk

    def forward(self, tiles: Tensor) -> Tensor:
        features: Tensor = self.trunk(as_planes(tiles))  # (B, 512)
        return features


def prepare(slide: Path, folder: Path) -> Models:
    """Write all three into `folder`; `slide` lends its tissue tiles."""
    weights, roots = folder / "resnet18.pt", (folder / "fp32", folder / "int8")
    fp32, int8 = (root / ARCHITECTURE / "1/model.onnx" for root in roots)
    tiles = tissue_tiles(slide, folder / "scratch")  # (n, 224, 224, 3)
    write_weights(weights, tiles)
    export(weights, fp32)
    write_int8(fp32, int8, tiles, 7 if saturates(CPU_FACTS.read_text()) else 8)
    # The encoders are there already, so only the rest of each bundle is made.
    return Models(weights, *(throwaway_bundle(root, ARCHITECTURE, TILE_UM) for root in roots))


@torch.no_grad()
def write_weights(path: Path, tiles: RGB) -> None:
    """Seeded weights whose batch norms have settled on `tiles` (n, 224, 224, 3)."""
    torch.manual_seed(0)
    trunk = resnet18(weights=None)
    trunk.fc = nn.Identity()
    norms = [part for part in trunk.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average over the batches
    trunk.train()
    for some in torch.split(torch.from_numpy(tiles), SETTLING_BATCH):
        trunk(as_planes(some))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(trunk.state_dict(), path)


def export(weights: Path, path: Path) -> None:
    example = torch.zeros(EXAMPLE_TILES, TILE_PX, TILE_PX, 3, dtype=torch.uint8)
    export_onnx(
        Graph(weights),
        example,
        path,
        input_name="tiles",
        output_names=["features"],
        dynamic={0: "batch"},
    )
