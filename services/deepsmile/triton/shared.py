"""Shared: memory that this process and a Triton server on the same machine both see."""

import os
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsmile.errors import InferenceUnavailable

FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps it


class SharedRegion:
    """A piece of memory under a name that nobody else has.

    Raises:
        InferenceUnavailable: there is no room for it.
    """

    def __init__(self, size: int) -> None:
        try:
            self._memory = SharedMemory(create=True, size=size)
        except OSError as error:
            raise _no_room(size) from error
        self.name, self.size = self._memory.name, size
        try:
            with (FOLDER / self.name).open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # else a write may end in SIGBUS
        except OSError as error:
            self.close()
            raise _no_room(size) from error

    def put(self, array: NDArray[np.generic]) -> None:
        """Copy an array to the beginning."""
        np.ndarray(array.shape, array.dtype, self._memory.buf)[...] = array

    def get(self, shape: tuple[int, ...], dtype: str, offset: int) -> NDArray[np.float32]:
        """A copy of the array that lies at `offset`."""
        view: NDArray[np.float32] = np.ndarray(shape, dtype, self._memory.buf, offset)
        return view.copy()

    def close(self) -> None:
        """Give it back; a server that still has it keeps its own hold."""
        self._memory.close()
        self._memory.unlink()


def _no_room(size: int) -> InferenceUnavailable:
    return InferenceUnavailable(
        f"no room for {size >> 20} MiB in {FOLDER}",
        hint=f"Give {FOLDER} more room, or set DEEPSMILE_TRITON_TRANSPORT=grpc.",
    )
