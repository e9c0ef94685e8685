"""Backends: tiles to features, features to logits; in process, or on a Triton server."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile.contract import Head
from deepsmile.slides.slide import RGB


class TileEncoder(Protocol):
    """Runs one encoder; safe to call from `concurrency` threads at once."""

    concurrency: int
    """How many `encode` calls keep it busy."""

    @property
    def name(self) -> str:
        """Runtime, version and provider, e.g. "onnxruntime 1.32.0 CPUExecutionProvider"."""

    def encode(self, tiles: RGB) -> Features:
        """(B, size, size, 3) uint8 -> (B, D) float32."""


class Backend(TileEncoder, Protocol):
    """Runs all models of one bundle."""

    runtime: str
    """All that is known of it that can change a bit of the features."""

    def score(
        self, head: Head, features: Features
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, D) with N >= 1 -> logits (M, 2) and attention (M, N) of the M members."""
