"""A backend without a model: the `Backend` protocol in numpy, for tests of the road."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile.contract import Head
from deepsmile.slides.slide import RGB

Logits = NDArray[np.float32]


def mean_and_square(tiles: RGB) -> Features:
    """What the tiny encoder computes: means and mean squares of the channels, (B, 6)."""
    unit = tiles.astype(np.float64) / 255
    means = [unit.mean(axis=(1, 2)), (unit**2).mean(axis=(1, 2))]
    features: Features = np.concatenate(means, axis=1).astype(np.float32)
    return features


@dataclass
class FakeBackend:
    """Encodes by `encoder`, answers each head with `logits`; notes the batches that it gets."""

    encoder: Callable[[RGB], Features] = mean_and_square
    logits: Logits = field(default_factory=lambda: np.array([[0.0, 1.0]], np.float32))
    name: str = "fake 1.0"
    runtime: str = name
    concurrency: int = 1
    batches: list[RGB] = field(default_factory=list)
    scored: list[Features] = field(default_factory=list)

    def encode(self, tiles: RGB) -> Features:
        self.batches.append(tiles)
        return self.encoder(tiles)

    def score(self, head: Head, features: Features) -> tuple[Logits, NDArray[np.float32]]:
        self.scored.append(features)
        even = np.full((len(self.logits), len(features)), 1 / max(len(features), 1), np.float32)
        return self.logits, even
