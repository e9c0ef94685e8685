"""Embedding: features of a store's tiles, by an encoder in torch or by an exported one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from deepsmile.backends.onnx import OnnxEncoder
from deepsmile.bag import Features
from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.tile_encoder import TileEncoder

BATCH = 16

Encode = Callable[[RGB], Features]
"""Tiles (B, 224, 224, 3) uint8 to features (B, D)."""


def torch_encode(encoder: TileEncoder) -> Encode:
    """In evaluation mode, without gradients, where the encoder lies."""
    encoder.eval()

    @torch.inference_mode()
    def encode(tiles: RGB) -> Features:
        there = torch.from_numpy(tiles).to(encoder.device)  # (B, 224, 224, 3)
        features: Features = encoder(there).cpu().numpy()  # (B, D)
        return features

    return encode


def onnx_encode(path: Path, threads: int = 1) -> Encode:
    """As it is served."""
    return OnnxEncoder(path, threads).encode


def embed(
    encode: Encode,
    tiles: Sequence[RGB] | RGB,
    advance: Callable[[], None] = lambda: None,
    batch: int = BATCH,
) -> Features:
    """Features (n, D) of all tiles, in their order."""
    parts = []
    for start in range(0, len(tiles), batch):
        some = [tiles[i] for i in range(start, min(start + batch, len(tiles)))]
        parts.append(encode(np.stack(some)))  # (B, D)
        advance()
    return np.concatenate(parts)  # (n, D)
