"""A whole service for tests: broker, worker and API as processes of their own, killed by pid."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepsmile.broker import Broker
from deepsmile.loopback import free_ports, is_answering
from deepsmile.settings import Settings

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    (port,) = free_ports(1)
    return port


def wait_until(question: Callable[[], Any], timeout_s: float = 30.0, every_s: float = 0.05) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(every_s)
    raise TimeoutError(f"not within {timeout_s:g} s")


class RunningService:
    """What `deepsmile up` starts, in a folder of its own, with quick leases and sweeps.

    `worker` is the command line of a worker, for those who bring their own scorer.
    """

    def __init__(
        self, repository: Path, worker: tuple[str, ...] = ("-m", "deepsmile.worker"), **changes: Any
    ) -> None:
        # Short: the path of a Unix socket has 107 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="deepsmile-"))
        self.slides = self.folder / "slides"
        self.slides.mkdir()
        fields: dict[str, Any] = {
            "data_dir": self.folder / "data",
            "model_repository": repository,
            "default_bundle": "tiny",
            "allowed_roots": (self.slides,),
            "port": free_port(),
            "max_upload_bytes": 80 << 20,
            "disk_reserve_bytes": 1 << 20,
            "encoder_threads": 1,
            "lease_s": 3.0,
            "heartbeat_s": 1.0,
            "sweep_s": 0.5,
            **changes,
        }
        self.settings = Settings(**fields)
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self._worker_command = worker
        self.broker: Broker | None = None
        self.api: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "RunningService":
        self.start_broker()
        self.start_worker()
        self.start_api()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.api):
            if process is not None:
                process.send_signal(signal.SIGTERM)
        for process in (*self.workers, self.api):
            if process is not None:
                process.wait(30)
        self.kill_broker()
        shutil.rmtree(self.folder)

    @property
    def log(self) -> str:
        """What all processes have said."""
        return "".join(p.read_text() for p in sorted(self.folder.glob("*.log")))

    def start_broker(self) -> None:
        self.broker = Broker(self.settings.valkey_socket)
        self.broker.start()

    def kill_broker(self) -> None:
        if self.broker is not None:
            self.broker.kill()

    def start_worker(self) -> subprocess.Popen[bytes]:
        worker = self._start(*self._worker_command, log="worker.log")
        self.workers.append(worker)
        return worker

    def kill_worker(self, worker: subprocess.Popen[bytes]) -> None:
        self.workers.remove(worker)
        worker.kill()
        worker.wait()

    def start_api(self) -> None:
        self.api = self._start("-m", "deepsmile.api", log="api.log")
        wait_until(self._is_alive)

    def kill_api(self) -> None:
        assert self.api is not None
        self.api.kill()
        self.api.wait()
        self.api = None

    def _is_alive(self) -> bool:
        return is_answering(f"{self.url}/healthz")

    def _start(self, *arguments: str, log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as sink:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, "C_FORCE_ROOT": "1", **self.settings.environment()},
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
