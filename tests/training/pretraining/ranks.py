"""A run of a network without batch norm, alone or as one of several ranks."""

import sys
from pathlib import Path

import numpy as np
import torch

from deepsmile_training.pretraining.distributed import joined_world
from deepsmile_training.pretraining.loop import Run
from tests.training.pretraining.conftest import HeldTiles, run_to_end, small_config


def train_in(folder: Path, batch: int) -> None:
    """Two epochs of SimCLR; the leading rank leaves its weights and its log."""
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)  # (n, S, S, 3)
    config = small_config(backbone="timm:test_vit", batch=batch, adam={"learning_rate": 1e-3})
    with joined_world("cpu") as world:
        folder = folder if world.leads else folder / "others"
        run_to_end(Run(config, HeldTiles(pixels), folder, world))


if __name__ == "__main__":
    train_in(Path(sys.argv[1]), int(sys.argv[2]))
