"""Checkpoints: all that a run needs to go on as if it had never stopped.

Order and augmentation are functions of seed and step, so the step is all of their state.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepsmile.disk import replacing
from deepsmile.errors import RequestInvalid
from deepsmile_training.pretraining.config import PretrainConfig
from deepsmile_training.pretraining.room import needing_room

NAME = "checkpoint.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps."""

    step: int
    recipe: dict[str, Any]
    tiles_digest: str
    method: dict[str, Any]
    optimiser: dict[str, Any]


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write it whole or not at all; the former one stays until then.

    Raises:
        StorageFull
    """
    buffer = io.BytesIO()
    torch.save(vars(checkpoint), buffer)
    path = folder / NAME
    full = f"no room for a checkpoint of {buffer.tell() / 1e6:.0f} MB at {path}"
    with needing_room(full), replacing(path) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(
    folder: Path, config: PretrainConfig, tiles_digest: str, device: torch.device
) -> Checkpoint | None:
    """The run's checkpoint, None where it has none.

    Raises:
        RequestInvalid: it is damaged, or of another configuration or other tiles.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        found = Checkpoint(**torch.load(path, map_location=device, weights_only=True))
    except (RuntimeError, OSError, EOFError, TypeError, ValueError) as error:
        raise RequestInvalid(
            f"{path} is no checkpoint: {error}", hint="Remove it to start again from nothing."
        ) from error
    recipe = config.recipe
    other = [key for key in recipe if found.recipe.get(key) != recipe[key]]
    if other:
        told = ", ".join(f"{key} {found.recipe.get(key)}, not {recipe[key]}" for key in other)
        raise RequestInvalid(
            f"{path} is of another configuration: {told}",
            hint="Name another --out, or the configuration in config.yaml beside it.",
        )
    if found.tiles_digest != tiles_digest:
        raise RequestInvalid(
            f"{path} is of other tiles", hint="Name another --out, or the former tile store."
        )
    return found
