"""Stack: broker, worker, API and Triton of one machine: started, kept alive, drained together.

The same programs as in production; only their settings point at one data directory.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event
from typing import IO, Self

from deepsmile.broker import Broker
from deepsmile.bundle import load_bundle
from deepsmile.disk import alone
from deepsmile.errors import ServiceUnreachable
from deepsmile.loopback import HOST, check_free, end, end_with_parent, is_answering
from deepsmile.settings import Settings
from deepsmile.triton.connection import tritonclient_grpc
from deepsmile.triton.install import find_triton
from deepsmile.triton.server import START_S, STOP_S, Ports

POLL_S = 0.1
RESTART_S = 1.0
STOP_API_S = 10.0
LOCK = "up.lock"
ELSEWHERE = "Stop it, or choose another folder with --data-dir."


class Stack:
    """Use it as a context: started on the way in, drained on the way out, the API first.

    If this process is killed, what it has started drains by itself.

    With a broker URL in the settings that broker is used; otherwise one is embedded. With a
    Triton of its own, that is what the worker asks, whatever the settings say.

    Raises:
        BundleError: the default bundle, or Triton, cannot be used; nothing was started.
        RequestInvalid: nor is it where the data directory or the port is in use.
        BrokerUnavailable: the embedded broker does not start.
    """

    def __init__(
        self, settings: Settings, log: IO[bytes] | None = None, *, with_triton: bool = False
    ) -> None:
        self._triton = Ports.free() if with_triton else None
        if self._triton is not None:
            url = f"{HOST}:{self._triton.grpc}"
            settings = settings.model_copy(update={"triton_url": url})
        self._settings, self._log = settings, log
        self._broker = None if settings.broker_url else Broker(settings.valkey_socket)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started = ExitStack()

    @property
    def url(self) -> str:
        return f"http://{self._settings.host}:{self._settings.port}"

    def __enter__(self) -> Self:
        load_bundle(self._settings.model_repository, self._settings.default_bundle)
        if self._triton is not None:
            find_triton(self._settings.triton_server)
            tritonclient_grpc()
        folder = self._settings.data_dir
        folder.mkdir(parents=True, exist_ok=True)
        used = f"another `deepsmile up` uses the data directory {folder}"
        with ExitStack() as started:
            started.enter_context(alone(folder / LOCK, used, ELSEWHERE))
            check_free(self._settings.host, self._settings.port)
            if self._broker is not None:
                started.callback(self._broker.stop)
                self._broker.start()
            for part, patience_s in self._parts():
                self._start(part)
                started.callback(self._stop, part, patience_s)
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """No new jobs first, then the job at hand, then what it needs."""
        self._started.close()

    def _parts(self) -> Iterator[tuple[str, float]]:
        """Our programs in the order of their start, and how long each may take to stop."""
        if self._triton is not None:
            yield "triton", 2 * STOP_S
        yield "worker", self._settings.drain_s
        yield "api", STOP_API_S

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
            self._check_alive()  # first: somebody else may have answered
            if not waiting:
                return
            if time.monotonic() - since > min(waiting):
                raise ServiceUnreachable(f"not ready after {min(waiting):g} s")
            time.sleep(POLL_S)

    def _check_alive(self) -> None:
        for part, process in self._processes.items():
            if process.poll() is not None:
                raise ServiceUnreachable(f"{part} did not start", hint="Read the log above.")

    def supervise(self, stop: Event) -> None:
        """Start again what dies, until `stop` is set."""
        while not stop.wait(RESTART_S):
            if self._broker is not None and not self._broker.is_running():
                self._broker.kill()
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
            preexec_fn=end_with_parent,
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
        """A worker that takes too long is killed: its job goes to the next when the lease ends."""
        end(self._processes.pop(part), patience_s)
