"""Data path of pre-training on a CPU: tiles/s read and augmented, against reading alone.

    python -m benchmarks.datapath STORE [STORE ...] [--rounds 7] [--batch 32]

Stores are made by `deepsmile-train tiles`. Batches of tiles are read in random order (warm page
cache), and one view of each is made, or the two of SimCLR. One thread, CPU seconds (others may be
at work on the machine), times the cores; rounds are interleaved and the ratio is taken inside each
round. Goal: at most 3.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepsmile.backends.onnx import available_cores
from deepsmile_training.tilesets.store import TileStore, open_store

TILES = 128
"""Per round."""

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


def compare(store: TileStore, rounds: int, batch: int) -> str:
    works = (reading(store), augmenting(store, 1), augmenting(store, 2))
    rng, found = np.random.default_rng(0), []
    for _ in range(rounds + 1):
        batches = rng.integers(len(store), size=(TILES // batch, batch))  # (k, B)
        found.append([tiles_per_second(work, batches) for work in works])
    rates = np.array(found[1:])  # (rounds, 3): the first round warms up
    cores = available_cores()
    alone, one, two = cores * np.median(rates, axis=0)
    first, second = (ratio_of(rates[:, 0] / rates[:, views]) for views in (1, 2))
    return (
        f"{store.file.recipe.encoding}: {alone:.0f} tiles/s read on {cores} cores; and one view of"
        f" each {one:.0f}, ratio {first}; and two views {two:.0f}, ratio {second}"
    )


def ratio_of(ratios: NDArray[np.float64]) -> str:
    return f"{np.median(ratios):.1f} ({ratios.min():.1f} to {ratios.max():.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for folder in options.stores:
        print(compare(open_store(folder), options.rounds, options.batch), flush=True)


if __name__ == "__main__":
    main()
