"""Reading: a slide's tiles from a process of its own, whose death is one slide's error.

The child sends `SlideFacts`, `Looked` as it goes over the overview, `PlanFacts`, the
`OverviewImage` if asked for, `TileBatch`es, and last a `ReadCount`.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from select import POLLIN, poll
from typing import IO

import numpy as np
from numpy.typing import NDArray

from deepsmile.contract import FeatureContract
from deepsmile.errors import (
    DeepSmileError,
    ReaderKilled,
    SlideTimeout,
    SlideUnreadable,
    error_from_code,
)
from deepsmile.frames import HEADER, Frame, PlanFacts, ReadCount, ReadRequest, SlideFacts
from deepsmile.tiles import TileBatch

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
PIPE_BYTES = 1 << 20
LAST_WORDS = 300


@dataclass(frozen=True)
class ReaderLimits:
    """Bounds of one reader process; none of them can change a score."""

    scratch: Path
    """Folder for its temporary files."""
    memory_bytes: int
    cpu_s: int
    stall_s: float
    """Longest wait for the next frame."""


@dataclass(frozen=True)
class Looked:
    """Progress of the overview, in tiles."""

    done: int
    total: int


@dataclass(frozen=True)
class OverviewImage:
    """The overview, when asked for: (rows * t, columns * t, 3)."""

    image: NDArray[np.uint8]


ReadEvent = SlideFacts | Looked | PlanFacts | OverviewImage | TileBatch | ReadCount


def read_slide(
    path: Path,
    contract: FeatureContract,
    *,
    mpp: float | None,
    batch: int,
    limits: ReaderLimits,
    overview: bool = False,
) -> Generator[ReadEvent]:
    """Read a slide in a child process: facts, plan, tiles in batches of `batch`, count.

    Raises:
        DeepSmileError: what the child raised, or SlideUnreadable, ReaderKilled or SlideTimeout
            for the way it died.
    """
    limits.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=limits.scratch) as scratch:
        request = ReadRequest(
            path=str(path.absolute()),
            scratch=scratch,
            contract=contract,
            mpp=mpp,
            batch=batch,
            overview=overview,
            memory_bytes=limits.memory_bytes,
            cpu_s=limits.cpu_s,
        )
        with _child(request) as channel:
            for frame in channel.frames(limits.stall_s):
                yield from _events(frame, contract)


def _events(frame: Frame, contract: FeatureContract) -> Iterator[ReadEvent]:
    match frame.kind:
        case "slide":
            yield SlideFacts.model_validate(frame.body)
        case "looked":
            yield Looked(**frame.body)
        case "plan":
            plan = PlanFacts.model_validate(frame.body)
            yield plan
            if frame.payload.size:
                t = contract.overview.tile_px
                yield OverviewImage(frame.payload.reshape(plan.rows * t, plan.columns * t, 3))
        case "tiles":
            size = contract.tile.size_px
            cells = np.array(frame.body["cells"], np.int32)  # (B, 2)
            yield TileBatch(cells, frame.payload.reshape(-1, size, size, 3))
        case "done":
            yield ReadCount.model_validate(frame.body)
        case _:
            raise error_from_code(frame.body["code"], frame.body["detail"], frame.body["hint"])


@contextmanager
def _child(request: ReadRequest) -> Iterator["_Channel"]:
    """A reader process with a pipe to it; dead and reaped on the way out, whatever happened."""
    receive_fd, send_fd = os.pipe()
    with contextlib.suppress(OSError):  # a container may forbid pipes this large
        fcntl.fcntl(receive_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "deepsmile.reader_process", str(send_fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=[send_fd],
            env={**os.environ, **ONE_THREAD},
        )
        os.close(send_fd)
        try:
            yield _Channel(process, receive_fd, errors, request)
        finally:
            os.close(receive_fd)
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()


@dataclass
class _Channel:
    """The parent's end of one reader process."""

    process: subprocess.Popen[bytes]
    fd: int
    errors: IO[bytes]
    request: ReadRequest

    def frames(self, stall_s: float) -> Iterator[Frame]:
        """Send the request, then receive frames up to and with the last."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died already; receiving says why
            self.process.stdin.write(self.request.model_dump_json().encode())
            self.process.stdin.close()
        while True:
            text_size, payload_size = HEADER.unpack(self._receive(HEADER.size, stall_s).data)
            body = json.loads(self._receive(text_size, stall_s).tobytes())
            kind = body.pop("kind")
            if kind == "error":
                body["detail"] = self._without_paths(body["detail"])
            yield Frame(kind, body, self._receive(payload_size, stall_s))
            if kind in ("done", "error"):
                return

    def _receive(self, size: int, stall_s: float) -> NDArray[np.uint8]:
        buffer = np.empty(size, np.uint8)  # (size,)
        rest = buffer.data
        ready = poll()
        ready.register(self.fd, POLLIN)
        deadline = time.monotonic() + stall_s
        while rest.nbytes:
            if not ready.poll(max(deadline - time.monotonic(), 0) * 1000):
                raise SlideTimeout(f"the reader sent nothing for {stall_s:g} s")
            count = os.readv(self.fd, [rest])
            if count == 0:
                raise self._death()
            rest = rest[count:]
        return buffer

    def _death(self) -> DeepSmileError:
        """Why the pipe closed before the last frame."""
        code = self.process.wait()
        if code == -signal.SIGXCPU:
            return SlideTimeout(f"the reader used up its {self.request.cpu_s} s of CPU time")
        if code == -signal.SIGKILL:
            return ReaderKilled("the reader process was killed from outside")
        how = f"of {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        said = f": {self._without_paths(lines[-1])[:LAST_WORDS]}" if lines else ""
        return SlideUnreadable(f"the reader process died {how}{said}")

    def _without_paths(self, text: str) -> str:
        """File names may name patients; they stay out of errors."""
        for path in (self.request.path, self.request.scratch):
            text = text.replace(path, "the slide")
        return text
