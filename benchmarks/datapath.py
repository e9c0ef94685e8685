"""Data path of pre-training on a CPU: tiles/s read and augmented, against reading alone.

    python -m benchmarks.datapath STORE [STORE ...] [--rounds 7] [--batch 32]

Stores are made by `deepsmile-train tiles`. Batches of tiles are read in random order (warm page
cache), and one view of each is made, or the two of SimCLR, as the paper augments. One thread, CPU
seconds (others may be at work on the machine), times the cores; rounds are interleaved and the
ratio is taken inside each round. Goal, of a store of JPEGs: reading takes at least a third.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from deepsmile.backends.onnx import available_cores
from deepsmile_training.tilesets.store import TileStore, open_store

TILES = 128
"""Per round."""
VIEWS, GOAL = (1, 2), 3.0

Work = Callable[[NDArray[np.int64]], object]


def reading(store: TileStore) -> Work:
    return store.read


def augmenting(store: TileStore, views: int) -> Work:
    """Read tiles and make `views` views of each, as the paper has them."""
    from deepsmile_training.pretraining.augmentation import PAPER, draw
    from deepsmile_training.pretraining.views import make_views

    def work(numbers: NDArray[np.int64]) -> None:
        generator = torch.Generator().manual_seed(int(numbers[0]))
        tiles = torch.from_numpy(store.read(numbers))  # (B, s, s, 3)
        for _ in range(views):
            draws = draw(PAPER, len(tiles), store.tile_px, generator)
            make_views(tiles, draws, store.tile_px)

    return work


def tiles_per_second(work: Work, batches: NDArray[np.int64]) -> float:
    """Of one core, for batches (k, B) of tiles."""
    before = time.process_time()
    for numbers in batches:
        work(numbers)
    return batches.size / (time.process_time() - before)


@dataclass(frozen=True)
class Rates:
    """Tiles per second of one core."""

    alone: NDArray[np.float64]
    """(rounds,)"""
    augmented: NDArray[np.float64]
    """(rounds, views)"""

    @property
    def ratios(self) -> NDArray[np.float64]:
        """(rounds, views) how many times as fast reading alone is."""
        return self.alone[:, None] / self.augmented


def measure(store: TileStore, rounds: int, batch: int) -> Rates:
    works = (reading(store), *(augmenting(store, views) for views in VIEWS))
    rng, found = np.random.default_rng(0), []
    for _ in range(rounds + 1):
        batches = rng.integers(len(store), size=(TILES // batch, batch))  # (k, B)
        found.append([tiles_per_second(work, batches) for work in works])
    rates = np.array(found[1:])  # (rounds, 1 + views): the first round warms up
    return Rates(rates[:, 0], rates[:, 1:])


def lines_of(rates: Rates, encoding: str, cores: int) -> list[str]:
    lines = [f"{encoding}: {cores * np.median(rates.alone):.0f} tiles/s read on {cores} cores"]
    for views, some, ratios in zip(VIEWS, rates.augmented.T, rates.ratios.T, strict=True):
        middle = np.median(ratios)
        lines.append(
            f"  with {views} view(s) of each {cores * np.median(some):.0f} tiles/s, alone is"
            f" {middle:.1f} x as fast ({ratios.min():.1f} to {ratios.max():.1f}), goal"
            f" {GOAL:.0f}: {'reached' if middle <= GOAL else 'NOT REACHED'}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for folder in options.stores:
        store = open_store(folder)
        rates = measure(store, options.rounds, options.batch)
        lines = lines_of(rates, store.file.recipe.encoding, available_cores())
        print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
