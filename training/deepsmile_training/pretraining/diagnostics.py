"""Diagnostics: whether embeddings collapse, and what training takes."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

AT_MOST = 512
"""Tiles of a batch that the distances are computed for."""
Awaited = TypeVar("Awaited")


@torch.no_grad()
def spread_of(z: Tensor) -> dict[str, float]:
    """Of embeddings z (2, B, d): deviation, alignment and uniformity.

    `feature_std` is 1 for directions that are spread evenly and 0 after a collapse; alignment and
    uniformity are Wang & Isola 2020's, with their exponents 2 and t = 2.
    """
    first, second = F.normalize(z[:, :AT_MOST].float(), dim=2)  # (B, d) each
    deviation = first.std(dim=0, correction=0).mean() * first.shape[1] ** 0.5  # ()
    alignment = (first - second).square().sum(dim=1).mean()  # ()
    pairs = len(first) * (len(first) - 1) / 2
    # log of the mean over pairs of exp(-2 d^2)
    uniformity = torch.pdist(first).square().mul(-2).logsumexp(0) - torch.tensor(pairs).log()  # ()
    told = {"feature_std": deviation, "alignment": alignment, "uniformity": uniformity}
    return {name: float(value) for name, value in told.items()}


class Meter:
    """Tiles per second of training, and the share of it in which the device waits for tiles.

    What lies between, such as a checkpoint or a probe, is neither.
    """

    def __init__(self) -> None:
        self._tiles, self._busy_s, self._waited_s = 0, 0.0, 0.0

    def awaited(self, batches: Iterable[Awaited]) -> Iterator[Awaited]:
        """The same; until each is there, the device waits."""
        begun = time.perf_counter()
        for batch in batches:
            self._waited_s += time.perf_counter() - begun
            yield batch
            begun = time.perf_counter()

    @contextmanager
    def working(self, tiles: int) -> Iterator[None]:
        """A step, which ends when the device has answered."""
        begun = time.perf_counter()
        yield
        self._busy_s += time.perf_counter() - begun
        self._tiles += tiles

    def read(self) -> dict[str, float]:
        """Since the last reading."""
        training_s = self._busy_s + self._waited_s
        told = {
            "tiles_per_s": self._tiles / training_s,
            "idle_share": self._waited_s / training_s,
        }
        self._tiles, self._busy_s, self._waited_s = 0, 0.0, 0.0
        return told
