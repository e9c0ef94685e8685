"""Uploads: bytes from the network to the disk, hashed on the way, never whole in memory.

A slide lies under its job's id and never under a name of the sender's, which may be a patient's.
It is not shared between jobs, so that deleting it can never race with a job that wants it;
equal bytes are told by their digest in the store.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from deepsmile.disk import PARTIAL, check_room, needing_room, sync_folder
from deepsmile.errors import BodyTooLarge, SlideEmpty, UploadIncomplete

SLIDE = ".slide"
BLOCK_BYTES = 1 << 20
"""Bytes handed to the disk at once; two blocks are in memory at most."""


@dataclass(frozen=True)
class UploadLimits:
    """Bounds of one upload."""

    max_bytes: int
    reserve_bytes: int
    """Free space that must be left."""


@dataclass(frozen=True)
class Received:
    """A slide on the disk."""

    path: Path
    sha256: str
    bytes: int


def upload_path(folder: Path, job_id: str) -> Path:
    """Where the upload of a job lies."""
    return folder / f"{job_id}{SLIDE}"


class Upload:
    """One upload on its way to the disk; use it as a context, which removes what did not land.

    `put` takes bytes as they come; `settle` between them lets the disk and the hash catch up,
    in a thread of their own, while more bytes arrive.
    """

    def __init__(self, folder: Path, job_id: str, limits: UploadLimits) -> None:
        self._path, self._limits = upload_path(folder, job_id), limits
        self._partial = folder / f"{job_id}{PARTIAL}"
        self._sha256 = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        self.bytes = 0

    async def __aenter__(self) -> Self:
        with needing_room():
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("xb", buffering=0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writing is not None:  # the thread must be out of the file before it is closed
            await asyncio.wait([self._writing])
            self._writing.exception()
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def fileno(self) -> int:
        """Descriptor of the file that is written."""
        return self._file.fileno()

    def expect(self, size_bytes: int) -> None:
        """Refuse early what is known to be too much.

        Raises:
            BodyTooLarge, StorageFull.
        """
        self._check_size(size_bytes)
        self._check_room(size_bytes)

    def put(self, data: bytes) -> None:
        """Take more bytes.

        Raises:
            BodyTooLarge: they are too many by now.
        """
        self.bytes += len(data)
        self._check_size(self.bytes)
        self._waiting.append(data)
        self._waiting_bytes += len(data)

    async def settle(self) -> None:
        """Wait until at most two blocks are in memory.

        Raises:
            StorageFull.
        """
        if self._waiting_bytes >= BLOCK_BYTES:
            await self._flush()

    async def land(self) -> Received:
        """Put the slide in its place, safe from a power cut.

        Raises:
            SlideEmpty: nothing came.
            StorageFull.
        """
        if self.bytes == 0:
            raise SlideEmpty("the upload has no bytes")
        await self._flush()
        await self._flush()
        await asyncio.to_thread(self._publish)
        return Received(self._path, self._sha256.hexdigest(), self.bytes)

    async def _flush(self) -> None:
        """Wait for the block that is being written, then hand over the next."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None
        if self._waiting:
            block, self._waiting, self._waiting_bytes = b"".join(self._waiting), [], 0
            self._writing = asyncio.ensure_future(asyncio.to_thread(self._write, block))

    def _write(self, block: bytes) -> None:
        self._check_room(len(block))
        self._sha256.update(block)
        rest = memoryview(block)
        with needing_room():
            while rest.nbytes:
                rest = rest[self._file.write(rest) :]

    def _publish(self) -> None:
        with needing_room():
            os.fsync(self._file.fileno())
            self._partial.rename(self._path)
            sync_folder(self._path.parent)

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._limits.max_bytes:
            raise BodyTooLarge(f"the slide is larger than {self._limits.max_bytes} bytes")

    def _check_room(self, size_bytes: int) -> None:
        check_room(self._partial.parent, size_bytes, self._limits.reserve_bytes)


async def unbroken(chunks: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
    """The chunks of a body, as long as they keep coming.

    Raises:
        UploadIncomplete: none came for `idle_s`.
    """
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise UploadIncomplete(f"no bytes came for {idle_s:g} s") from error
        if chunk is None:
            return
        yield chunk
