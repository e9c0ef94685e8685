"""slide2vec on one slide: tissue, tiles, features, read by OpenSlide, else its own defaults."""

from dataclasses import replace

import numpy as np
import torch
from hs2p import SlideSpec, tile_slide
from hs2p.configs.models import TilingConfig
from slide2vec import ExecutionOptions, Model, PreprocessingConfig
from slide2vec.encoders.base import TileEncoder
from slide2vec.encoders.registry import register_encoder
from torch import Tensor
from torchvision import transforms

from benchmarks.peers.network import FEATURE_DIM, Network, normalised
from benchmarks.peers.protocol import TILE_MPP, TILE_PX, Encoded, Order, answer

TILING = TilingConfig(
    requested_spacing_um=TILE_MPP,
    requested_tile_size_px=TILE_PX,
    tolerance=0.05,
    overlap=0.0,
    backend="openslide",
)


def registered(network: Network) -> str:
    """Make the network known under a name."""

    @register_encoder(
        "benchmark-resnet18",
        output_variants={"default": {"encode_dim": FEATURE_DIM}},
        default_output_variant="default",
        input_size=TILE_PX,
        supports_variable_input_size=False,
        supported_spacing_um=None,
        precision="fp32",
        source="local",
    )
    class ResNet18(TileEncoder):
        encode_dim = FEATURE_DIM
        device = torch.device("cpu")

        def __init__(self, *, output_variant: str | None = None) -> None:
            pass

        def get_transform(self) -> transforms.Compose:
            return normalised(transforms.Resize((TILE_PX, TILE_PX)))

        def get_normalization_transform(self) -> transforms.Compose:
            return normalised()

        def encode_tiles(self, batch: Tensor) -> Tensor:
            return network(batch)  # (B, D)

        def to(self, device: torch.device) -> "ResNet18":
            return self

    return "benchmark-resnet18"


def encode(order: Order) -> Encoded:
    network = Network(order.model, keep=order.pixels)
    model = Model.from_preset(
        registered(network), device="cpu", allow_non_recommended_settings=True
    )
    rules = PreprocessingConfig(tiling=TILING)
    if order.places is not None:
        return at_places(order, model, network, rules)
    found = model.embed_slide(order.slide, preprocessing=rules, execution=ExecutionOptions())
    corners = np.stack([found.x, found.y], axis=1).astype(np.float64)  # (N, 2)
    features = found.tile_embeddings.numpy()  # (N, D)
    return Encoded(features, corners, network.pixels_of(features))


def at_places(order: Order, model: Model, network: Network, rules: PreprocessingConfig) -> Encoded:
    """Its own tiling of the slide, with the tiles moved to where they are wanted."""
    slide = SlideSpec(sample_id="slide", image_path=order.slide)
    tiling = tile_slide(slide, tiling=TILING, segmentation=rules.segmentation)
    x, y = order.places.T.astype(np.int64)  # (N,), (N,)
    tiles = replace(
        tiling.tiles, x=x, y=y, tissue_fractions=np.ones(len(x), np.float32), tile_index=None
    )
    [artifact] = model.embed_tiles(
        [slide],
        [replace(tiling, tiles=tiles)],
        preprocessing=rules,
        execution=ExecutionOptions(output_dir=order.scratch),
    )
    features = torch.load(artifact.path).numpy()  # (N, D)
    return Encoded(features, order.places, network.pixels_of(features))


if __name__ == "__main__":
    answer("slide2vec", encode)
