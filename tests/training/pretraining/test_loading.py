"""Loading: what is wrong with a tile is said as the store says it, by whatever process reads."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from deepsmile.errors import RequestInvalid
from deepsmile_training.pretraining.config import Running
from deepsmile_training.pretraining.distributed import World
from deepsmile_training.pretraining.loading import load, naming_lost_workers
from deepsmile_training.pretraining.loop import Run
from deepsmile_training.pretraining.order import Order, Parts
from deepsmile_training.pretraining.pretrain import pretrain
from deepsmile_training.tilesets.shard import TilesCorrupt
from tests.training.pretraining.conftest import HeldTiles, small_config


@dataclass(frozen=True)
class Damaged(HeldTiles):
    """Tile 7 cannot be read."""

    def read(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        if 7 in numbers:
            raise TilesCorrupt("s.tiles, tile 7: cut short", hint="Pack it again.")
        return super().read(numbers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_tile_is_told_as_it_is(held: HeldTiles, workers: int) -> None:
    """Batches before it come; then its own detail and hint, without a worker's traceback."""
    order = Order.of(small_config(), len(held), World())
    place = next(i for i, rows in enumerate(Parts(order, 0)) if 7 in rows)
    batches = load(Damaged(held.pixels), Parts(order, 0), Running(workers=workers), pinned=False)
    for rows, _ in zip(Parts(order, 0), range(place), strict=False):
        assert np.array_equal(next(batches).numpy(), held.pixels[rows])
    with pytest.raises(TilesCorrupt) as caught:
        next(batches)
    assert caught.value.detail == str(caught.value) == "s.tiles, tile 7: cut short"
    assert caught.value.hint == "Pack it again."


@dataclass(frozen=True)
class Deadly(HeldTiles):
    """Tile 7 costs the process that reads it its life, if it is not the one that made this."""

    maker: int = field(default_factory=os.getpid)

    def read(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        if 7 in numbers and os.getpid() != self.maker:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(numbers)


def test_a_killed_reader_is_told_with_what_to_do(run: Run) -> None:
    """As a machine does whose memory ends; torch alone raises a bare RuntimeError."""
    config = small_config(running={"workers": 1, "device": "cpu"})
    dying = replace(run, tiles=Deadly(run.tiles.read(range(len(run.tiles)))), config=config)
    with pytest.raises(RequestInvalid, match="a process that reads tiles was lost") as caught:
        pretrain(
            dying, lambda: False, stage=lambda what, count: lambda: None, say=lambda told: None
        )
    assert "DataLoader worker (pid" in caught.value.detail
    assert "running.workers" in caught.value.hint


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), naming_lost_workers():
        raise RuntimeError("shapes do not fit")
