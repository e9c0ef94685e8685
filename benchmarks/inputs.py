"""What the benchmarks share: a contract, a reader, throwaway bundles of real architectures."""

from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from deepsmile.bundle import SUFFIX, Bundle, load_bundle, write_bundle
from deepsmile.contract import FeatureContract
from deepsmile.digest import digest_of_file
from deepsmile.reading import Reader, ReaderLimits
from deepsmile_training.export import export_onnx
from deepsmile_training.mil.ensemble import Ensemble, export_ensemble
from deepsmile_training.mil.heads import VarMIL
from tests.making import feature_contract

ARCHITECTURES = {"shufflenet_v2_x1_0": 1024, "resnet18": 512}
"""Name in torchvision -> length of its features."""
GMAC = {"shufflenet_v2_x1_0": 0.144, "resnet18": 1.814}
"""Multiply-adds per 224 px tile, counted with hooks."""
EXAMPLE_TILES = 3


def contract_of(size_um: float) -> FeatureContract:
    """The demo's feature contract with tiles of another size."""
    tile = {"size_um": size_um, "size_px": 224, "origin_um": (0.0, 0.0), "edge": "drop"}
    return feature_contract(tile=tile)


def reader_for(scratch: Path, batch: int = 4) -> Reader:
    return Reader(ReaderLimits(scratch, 4 << 30, 3600, 120.0), batch)


class Encoder(nn.Module):
    """A torchvision network without its classifier: (B, 224, 224, 3) uint8 -> (B, D)."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.network = getattr(torchvision.models, architecture)(weights=None)
        self.network.fc = nn.Identity()

    def forward(self, tiles: Tensor) -> Tensor:
        features: Tensor = self.network(tiles.permute(0, 3, 1, 2).float() / 255)  # (B, D)
        return features


def throwaway_bundle(root: Path, architecture: str, size_um: float, members: int = 1) -> Bundle:
    """A bundle with random weights, exported once per folder: right cost, no meaning."""
    name = f"{architecture}-{size_um:g}-{members}"
    if (root / f"{name}{SUFFIX}").exists():
        return load_bundle(root, name)
    dim = ARCHITECTURES[architecture]
    encoder, head = (
        root / f"{architecture}/1/model.onnx",
        root / f"{architecture}_head_{members}/1/model.onnx",
    )
    torch.manual_seed(0)
    if not encoder.exists():
        export_onnx(
            Encoder(architecture),
            torch.zeros(EXAMPLE_TILES, 224, 224, 3, dtype=torch.uint8),
            encoder,
            input_name="tiles",
            output_names=["features"],
            dynamic={0: "batch"},
        )
    if not head.exists():
        export_ensemble(Ensemble([VarMIL(dim) for _ in range(members)]), head)
    card = root / f"{name}.card.md"
    card.write_text("# Random weights, for timing only\n")
    features = contract_of(size_um).model_dump(mode="json")
    features["encoder"] = {
        "name": architecture,
        "sha256": digest_of_file(encoder),
        "feature_dim": dim,
    }
    contract = {"features": features, "heads": [_head(digest_of_file(head), members)]}
    files = {p.relative_to(root).as_posix(): digest_of_file(p) for p in (encoder, head, card)}
    return write_bundle(
        root,
        {
            "format": "deepsmile-bundle/1",
            "name": name,
            "version": "1",
            "notice": "Random weights, for timing only.",
            "contract": contract,
            "files": files,
            "card": card.name,
            "provenance": {"made_by": "benchmarks/inputs.py"},
        },
    )


def _head(sha256: str, members: int) -> dict[str, object]:
    return {
        "name": "timing",
        "sha256": sha256,
        "members": members,
        "negative": "no",
        "positive": "yes",
        "min_tiles": 1,
        "calibration": {"method": "none"},
        "operating_points": [{"name": "half", "threshold": 0.5, "basis": "none"}],
        "decision": "half",
        "conformal": None,
        "novelty": None,
    }
