"""Shared: memory that this process and a Triton server on the same machine both see."""

import fcntl
import os
import secrets
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsmile.errors import InferenceUnavailable

FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps it
OURS = "deepsmile-client-"
"""How the names of regions begin."""


class SharedRegion:
    """A piece of memory under a name that nobody else has, locked while its process lives.

    Raises:
        InferenceUnavailable: there is no room for it.
    """

    def __init__(self, size: int) -> None:
        try:
            name = f"{OURS}{secrets.token_hex(8)}"
            self._memory = SharedMemory(name, create=True, size=size)
        except OSError as error:
            raise _no_room(size) from error
        self.name, self.size = self._memory.name, size
        self._lock: int | None = None
        try:
            self._lock = os.open(FOLDER / self.name, os.O_RDWR)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(self._lock, 0, size)  # else a write may end in SIGBUS
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
        if self._lock is not None:
            os.close(self._lock)


def is_orphan(name: str) -> bool:
    """Whether a region of ours will never be used again: it has no file, or nobody has it locked.

    Other than a process id, a lock tells of the processes in other containers too. The file of an
    orphan, if it has one, is removed.
    """
    if not name.startswith(OURS):
        return False
    try:
        lock = os.open(FOLDER / name, os.O_RDWR)
    except FileNotFoundError:
        return True
    except PermissionError:  # another user's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (FOLDER / name).unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _no_room(size: int) -> InferenceUnavailable:
    return InferenceUnavailable(
        f"no room for {size >> 20} MiB in {FOLDER}",
        hint=f"Give {FOLDER} more room, or set DEEPSMILE_TRITON_TRANSPORT=grpc.",
    )
