"""Checkpoints: all that a run needs to go on as if it had never stopped.

Order and augmentation are functions of seed and step, so the step is all of their state.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.weights import read_weights, write_weights
from deepsmile_training.pretraining.config import PretrainConfig
from deepsmile_training.pretraining.distributed import World

NAME = "checkpoint.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps."""

    step: int
    recipe: dict[str, Any]
    origin: dict[str, Any]
    """Where the weights before the first step came from; their file may be another by now."""
    tiles_digest: str
    method: dict[str, Any]
    optimiser: dict[str, Any]


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write it whole or not at all; the former one stays until then.

    Raises:
        StorageFull
    """
    write_weights(vars(checkpoint), folder / NAME)


def load_checkpoint(folder: Path, config: PretrainConfig, tiles_digest: str) -> Checkpoint | None:
    """The run's checkpoint, None where it has none.

    Raises:
        RequestInvalid: it is damaged, or of another configuration or other tiles.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        found = Checkpoint(**read_weights(path))
    except (RequestInvalid, TypeError) as error:
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


def check_alike(found: Checkpoint | None, folder: Path, world: World) -> None:
    """Raises RequestInvalid if the ranks have found different checkpoints, or only some have."""
    if world.size == 1:
        return
    told = world.told((found.step, digest_of_file(folder / NAME)) if found else (0, ""))
    if len(set(told)) > 1:
        steps = ", ".join(str(step) for step, _ in told)
        raise RequestInvalid(
            f"the ranks would go on from different checkpoints, of steps {steps}",
            hint="Give every rank the same --out: one folder that all nodes share.",
        )
