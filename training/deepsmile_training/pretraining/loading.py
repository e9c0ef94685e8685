"""Loading: batches of bytes from a tile store, read ahead by workers."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from deepsmile.errors import DeepSmileError, RequestInvalid
from deepsmile_training.pretraining.config import Running
from deepsmile_training.pretraining.order import Parts
from deepsmile_training.pretraining.stopping import STOPPING

LOST = "DataLoader worker (pid"


class Tiles(Protocol):
    """What of a tile store pre-training uses."""

    @property
    def tile_px(self) -> int:
        """S."""
        ...

    @property
    def digest(self) -> str:
        """Of all tiles and of what is said of them, for reports."""
        ...

    @property
    def tiles_digest(self) -> str:
        """Of all tiles alone: what a run can go on with."""
        ...

    def __len__(self) -> int: ...

    def read(self, numbers: Sequence[int], /) -> NDArray[np.uint8]:
        """Tiles by their numbers, (B, S, S, 3)."""
        ...


@dataclass(frozen=True)
class _Batches:
    """A store whose rows are read many at a time.

    What is wrong with them is an answer: raised in a worker, it would come as another error's text.
    """

    tiles: Tiles

    def __getitem__(self, rows: list[int]) -> Tensor | DeepSmileError:
        try:
            return torch.from_numpy(self.tiles.read(rows))  # (B, S, S, 3)
        except DeepSmileError as error:
            return error


def load(tiles: Tiles, parts: Parts, running: Running, *, pinned: bool) -> Iterator[Tensor]:
    """Tiles (B, S, S, 3) uint8 of each part, in order; errors of the store are raised here."""
    options: dict[str, Any] = {"prefetch_factor": 4} if running.workers else {}
    loader: DataLoader[Tensor | DeepSmileError] = DataLoader(
        _Batches(tiles),  # type: ignore[arg-type]  # any class that has rows will do
        batch_size=None,
        sampler=parts,
        num_workers=running.workers,
        pin_memory=pinned,
        worker_init_fn=_begin,
        **options,
    )
    for part in loader:
        if isinstance(part, DeepSmileError):
            raise part
        yield part


@contextmanager
def naming_lost_workers() -> Iterator[None]:
    """Tell what torch raises, wherever this process is, when one that reads tiles is killed.

    Raises:
        RequestInvalid
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(LOST):
            raise
        raise RequestInvalid(
            f"a process that reads tiles was lost: {str(error).strip()}",
            hint="Fewer running.workers need less memory, shared memory too; given again, the run"
            " goes on from its last checkpoint.",
        ) from error


def _begin(worker: int) -> None:
    # A signal to all of a job's processes is for the leading one, which ends its workers itself.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)  # there are as many workers as cores
