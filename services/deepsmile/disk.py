"""Disk: what we write there lands whole or not at all, leaves room for others, and is our own."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import IO
from uuid import uuid4

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid, StorageFull

PARTIAL = ".partial"
"""How the names of files end that are not whole yet."""
NO_ROOM = (ENOSPC, EDQUOT, EFBIG)
"""Errors of a write that say so."""


def check_room(folder: Path, size_bytes: int, reserve_bytes: int) -> None:
    """Raises StorageFull if so many bytes more in `folder` would leave less than the reserve."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free - size_bytes < reserve_bytes:
        raise StorageFull(f"{free} bytes are free, {reserve_bytes} must stay so")


def keep_private() -> None:
    """What this process and those that it starts write from here on is for their user alone."""
    os.umask(0o077)


@contextmanager
def needing_room(
    detail: str = "no room left while writing", hint: str | None = None
) -> Iterator[None]:
    """Raises StorageFull where a write of the block, or of the function, finds no room."""
    try:
        yield
    except StorageFull as error:
        raise StorageFull(error.detail, hint=hint or error.hint) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StorageFull(detail, hint=hint) from error


@contextmanager
def alone(
    lock: Path, otherwise: str, hint: str = "Wait for it, or choose another folder."
) -> Iterator[None]:
    """Keep others that ask for the same lock file out, for as long as the block takes.

    Raises:
        RequestInvalid: somebody has it; one who dies has it no longer.
    """
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RequestInvalid(otherwise, hint=hint) from error
        yield


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` after the block, safe from a power cut.

    A block that raises changes nothing; of several writers at once, the last one stays.
    """
    partial = path.with_name(f".{uuid4().hex}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_file(path: Path, content: str) -> None:
    """Write a text as `replacing` does."""
    with replacing(path) as file:
        file.write(content.encode())


def copy_file(source: Path, target: Path) -> None:
    """Copy, making the folders on the way; readers see the old file or the whole new one.

    A file that is the same already stays: servers load again what is written again.
    """
    if target.exists() and digest_of_file(target) == digest_of_file(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file, source.open("rb") as original:
        shutil.copyfileobj(original, file)


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder last."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
