"""Order: which tiles a step sees, and which of them this rank; a function of seed and step."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from deepsmile.errors import RequestInvalid
from deepsmile_training.pretraining.augmentation import Augmentation, Draws, draw
from deepsmile_training.pretraining.config import PretrainConfig
from deepsmile_training.pretraining.distributed import World

SHUFFLING, DRAWING, NETWORK = range(3)
"""What seeds are for; each has numbers of its own."""


def seed_of(seed: int, purpose: int, number: int) -> int:
    """A seed for one purpose, step or epoch of a run."""
    return int(np.random.SeedSequence((seed, purpose, number)).generate_state(1, np.uint32)[0])


@dataclass(frozen=True)
class Place:
    """Where the tiles of one rank's part of a step stand in the joined batch."""

    step: int
    start: int
    stop: int


@dataclass(frozen=True)
class Order:
    """All steps of a run; incomplete batches at the end of an epoch are left out."""

    tiles: int
    batch: int
    epochs: int
    parts: int
    seed: int
    world: World

    @classmethod
    def of(cls, config: PretrainConfig, tiles: int, world: World) -> "Order":
        """Raises RequestInvalid if the tiles do not fill a batch, or the batch not the ranks."""
        if tiles == 0:
            raise RequestInvalid("there are no tiles to train on", hint="Name another tile store.")
        if tiles < config.batch:
            raise RequestInvalid(
                f"batch: {config.batch} tiles, and there are only {tiles}",
                hint="Lower batch, or add slides to the tile store.",
            )
        order = cls(tiles, config.batch, config.epochs, config.accumulation, config.seed, world)
        if order.share < 1:
            raise RequestInvalid(
                f"batch: {config.batch} tiles give none to some of {world.size} ranks",
                hint="Raise batch, or start fewer ranks.",
            )
        return order

    @property
    def steps_per_epoch(self) -> int:
        return self.tiles // self.batch

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def share(self) -> int:
        """Tiles of one rank in one part."""
        return self.batch // (self.parts * self.world.size)

    @property
    def batch_used(self) -> int:
        """Tiles of a step: the batch, less what does not divide among ranks and parts."""
        return self.share * self.parts * self.world.size

    def places(self, step: int) -> list[Place]:
        """This rank's parts of a step."""
        firsts = [(part * self.world.size + self.world.rank) for part in range(self.parts)]
        return [Place(step, first * self.share, (first + 1) * self.share) for first in firsts]

    def rows(self, place: Place) -> list[int]:
        """Tiles of the store at a place."""
        epoch, batch = divmod(place.step, self.steps_per_epoch)
        start = batch * self.batch
        shuffled = _shuffled(self.tiles, self.seed, epoch)  # (tiles,)
        rows: list[int] = shuffled[start + place.start : start + place.stop].tolist()
        return rows

    def draws(self, how: Augmentation, tile_px: int, place: Place) -> tuple[Draws, Draws]:
        """What is drawn for the two views of the tiles at a place."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, DRAWING, place.step))
        views = draw(how, 2 * self.batch, tile_px, generator)
        second = self.batch
        return (
            views.part(place.start, place.stop),
            views.part(second + place.start, second + place.stop),
        )


@lru_cache(maxsize=2)
def _shuffled(tiles: int, seed: int, epoch: int) -> NDArray[np.int64]:
    generator = np.random.default_rng(seed_of(seed, SHUFFLING, epoch))
    return generator.permutation(tiles)  # (tiles,)


@dataclass(frozen=True)
class Parts:
    """Rows of this rank's parts from a step on, in the order in which they are trained on."""

    order: Order
    first_step: int

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.order.steps):
            for place in self.order.places(step):
                yield self.order.rows(place)

    def __len__(self) -> int:
        return (self.order.steps - self.first_step) * self.order.parts
