"""Reader host: starts the process that forks readers, and listens to what they send."""

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import POLLIN, poll
from typing import IO

import numpy as np
from numpy.typing import NDArray

from deepsmile.errors import (
    DeepSmileError,
    ReaderKilled,
    SlideTimeout,
    SlideTooLarge,
    SlideUnreadable,
)
from deepsmile.frames import HEADER, STATUS, Frame, ReadRequest

INHERITED = re.compile(r"PATH|HOME|TMPDIR|TZ|LANG|LANGUAGE|LC_.+|LD_LIBRARY_PATH|PYTHON[A-Z]+")
"""Variables that a reader gets; it has no business with the others, among them passwords."""
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # Another decoder, silently wrong without a GPU.
    "ENABLE_CUSLIDE2": "0",
    # 64 MB of decoded tiles, so that neighbouring blocks off the JPEG grid decode none twice.
    "CUCIM_CONFIG_PATH": str(Path(__file__).parent / "slides" / "cucim.json"),
}
OUT_OF_MEMORY = re.compile(r"MemoryError|bad_alloc|[Ff]ailed to allocate|Insufficient memory")
"""Last words of Python, C++, GLib and OpenCV without it."""
PIPE_BYTES = 1 << 20
LAST_WORDS = 300
FORKED_BYTES = 16
FORK_S = 60.0
"""Longest wait for a fork: a host that has just started imports the readers first."""
END_S = 5.0
"""Longest wait for a killed process; one that waits for a dead mount does not die."""


class ReaderHost:
    """The process that forks the readers, and the socket to it."""

    def __init__(self, fork_s: float = FORK_S) -> None:
        self._fork_s = fork_s
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "deepsmile.reader_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_inherited() | ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for us, who may want to finish the slide
            )
        self.stop = weakref.finalize(self, _stop, self._process, self._control)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self.stop.alive and self._process.poll() is None

    @contextmanager
    def fork(self, request: ReadRequest) -> Iterator["ReaderChannel"]:
        """A reader process and the pipe from it; dead and reaped on the way out.

        Raises:
            ReaderKilled: the host itself is gone, or silent.
        """
        receive_fd, send_fd = os.pipe()
        with (
            os.fdopen(receive_fd, "rb", buffering=0) as pipe,
            tempfile.TemporaryFile() as errors,
        ):
            with contextlib.suppress(OSError):  # a container may forbid pipes this large
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            with os.fdopen(send_fd, "wb", buffering=0) as sink:
                pidfd = self._ask_for_fork(request, [sink.fileno(), errors.fileno()])
            channel = ReaderChannel(self, pidfd, pipe, errors, request)
            try:
                yield channel
            finally:
                channel.end()

    def _ask_for_fork(self, request: ReadRequest, fds: list[int]) -> int:
        self._control.settimeout(self._fork_s)
        try:
            socket.send_fds(self._control, [request.model_dump_json().encode()], fds)
            _, pidfds, _, _ = socket.recv_fds(self._control, FORKED_BYTES, maxfds=1)
        except OSError:
            pidfds = []
        if not pidfds:
            self.stop()  # it may look alive for a moment longer; the next slide needs another
            raise ReaderKilled("the readers' host process was killed from outside, or is stuck")
        return pidfds[0]

    def exit_code(self) -> int:
        """Of the reader that was killed or ended: its exit code, or minus its signal.

        A host that does not say is stopped: its reader cannot die, or it is gone itself.
        """
        self._control.settimeout(END_S)
        status = b""
        with contextlib.suppress(OSError):
            status = self._control.recv(STATUS.size)
        if not status:
            self.stop()
            return -signal.SIGKILL
        return int(STATUS.unpack(status)[0])


def _inherited() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if INHERITED.fullmatch(name)}


def _stop(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)


class ReaderChannel:
    """One reader process: its frames, its end."""

    def __init__(
        self,
        host: ReaderHost,
        pidfd: int,
        pipe: IO[bytes],
        errors: IO[bytes],
        request: ReadRequest,
    ) -> None:
        self._host, self._pidfd, self._pipe = host, pidfd, pipe
        self._errors, self._request = errors, request
        self._exit_code: int | None = None

    def frames(self, stall_s: float) -> Iterator[Frame]:
        """Frames up to and with the last.

        Raises:
            SlideTimeout: none came for `stall_s`.
            SlideUnreadable, SlideTooLarge, ReaderKilled: the process died.
        """
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
        ready.register(self._pipe, POLLIN)
        deadline = time.monotonic() + stall_s
        while rest.nbytes:
            if not ready.poll(max(deadline - time.monotonic(), 0) * 1000):
                raise SlideTimeout(f"the reader sent nothing for {stall_s:g} s")
            count = os.readv(self._pipe.fileno(), [rest])
            if count == 0:
                raise self._death()
            rest = rest[count:]
        return buffer

    def end(self) -> int:
        """Kill the process if it still runs; its exit code, or minus its signal."""
        if self._exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)
            self._exit_code = self._host.exit_code()
        return self._exit_code

    def _death(self) -> DeepSmileError:
        """Why the pipe closed before the last frame: the process has its exit code already."""
        code = self.end()
        if code == -signal.SIGXCPU:
            hint = "Raise DEEPSMILE_READER_CPU_S if the slide is known to be good."
            used = f"the reader used up its {self._request.cpu_s} s of CPU time"
            return SlideTimeout(used, hint=hint)
        if code == -signal.SIGKILL:
            return ReaderKilled("the reader process was killed from outside")
        said = self._last_words()
        if OUT_OF_MEMORY.search(said):
            hint = "Raise DEEPSMILE_READER_MEMORY_BYTES if the slide is known to be good."
            return SlideTooLarge(
                f"the reader needs more than its {self._request.memory_bytes} bytes of memory",
                hint=hint,
            )
        how = f"of {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return SlideUnreadable(f"the reader process died {how}{said}")

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {self._without_paths(lines[-1])[:LAST_WORDS]}" if lines else ""

    def _without_paths(self, text: str) -> str:
        """File names may name patients; they stay out of errors."""
        path = Path(self._request.path)
        folders = (path, path.parent, self._request.scratch)
        inside = "|".join(re.escape(str(folder)) for folder in folders)
        text = re.sub(rf"({inside})/[^:'\"\n]*", "the slide", text)
        return re.sub(rf"(?<!\w){re.escape(path.name)}(?!\w)", "the slide", text)
