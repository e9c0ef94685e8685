"""Small runs, alone or as one of several ranks."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepsmile.errors import RequestInvalid
from deepsmile_training.pretraining.distributed import joined_world
from deepsmile_training.pretraining.loop import Run
from tests.training.pretraining.conftest import SMALL, HeldTiles, run_to_end, small_config

RUNS: dict[str, dict[str, Any]] = {
    # Batch norms would see half of the batch each.
    "without batch norms": {"backbone": "timm:test_vit", "adam": {"learning_rate": 1e-3}},
    "kept": {},
    "recomputed": {"running": {**SMALL["running"], "gradient_checkpointing": True}},
}


def train_in(folder: Path, names: Sequence[str]) -> None:
    """Two epochs of SimCLR each; the leading rank leaves weights and logs in folders so named.

    The others have folders of their own, so that no rank can go on: the complaint is left there.
    """
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)  # (n, S, S, 3)
    with joined_world("cpu") as world:
        for name in names:
            place = (folder if world.leads else folder / "others") / name
            place.mkdir(parents=True)
            run = Run(small_config(**RUNS[name]), HeldTiles(pixels), place, world)
            run_to_end(run)
            try:
                run.checkpoint()
            except RequestInvalid as error:
                (place / "refused").write_text(error.detail)


if __name__ == "__main__":
    train_in(Path(sys.argv[1]), sys.argv[2:])
