"""Server: one Triton on this machine, started, awaited, stopped, with nothing left behind."""

import os
import signal
import subprocess
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deepsmile.errors import InferenceUnavailable
from deepsmile.loopback import HOST, end_with_parent, free_ports, is_answering
from deepsmile.triton.install import Installation
from deepsmile.triton.shared import FOLDER

POLL_S = 0.05
START_S = 600.0
"""Until it answers; TensorRT builds its engines in minutes."""
STOP_S = 30.0
RELOAD_S = 2
"""How often it looks for new versions of models; the old ones answer until the new ones do."""
CLIENT_MEMORY_FLAG = "--allow-client-shm"
"""Since 26.04 clients may share memory only if told so; older servers do not know the flag."""
PREFIX = "shm-region-prefix-name"
"""Of the memory that a server shares with its stubs."""


@dataclass(frozen=True)
class Ports:
    """Where it listens."""

    http: int
    grpc: int
    metrics: int

    @classmethod
    def free(cls) -> Self:
        """Three that nobody listens on."""
        return cls(*free_ports(3))

    @property
    def health_url(self) -> str:
        """Answers once the server does."""
        return f"http://{HOST}:{self.http}/v2/health/live"


class TritonServer:
    """Use it as a context: started on the way in, stopped on the way out."""

    def __init__(
        self,
        installation: Installation,
        repository: Path,
        *,
        home: Path,
        ports: Ports,
        log: Path | None = None,
    ) -> None:
        """`home` is a folder for what it needs while it runs; its log goes to `log` or stderr."""
        self._installation, self._repository, self._home = installation, repository, home
        self._ports, self._log = ports, log
        self._prefix = f"deepsmile-{ports.grpc}-"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For gRPC clients."""
        return f"{HOST}:{self._ports.grpc}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it; `wait_live` says when it answers. It ends when the calling thread does.

        Raises:
            BackendMissing: it cannot run here.
        """
        self._sweep()
        self._home.mkdir(parents=True, exist_ok=True)
        command = self._command(self._installation.backends(self._home))
        with self._log.open("ab") if self._log else nullcontext() as log:
            self._process = subprocess.Popen(
                command,
                env=self._installation.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log and subprocess.STDOUT,
                start_new_session=True,  # so that its stubs can be told by their group
                preexec_fn=end_with_parent,
            )

    def is_alive(self) -> bool:
        """Whether its process runs; it may be deaf all the same."""
        return self._process is not None and self._process.poll() is None

    def wait_live(self, timeout_s: float) -> None:
        """Return when it answers, which it does once it has tried to load every model.

        Raises:
            InferenceUnavailable: it ended, or does not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while not is_answering(self._ports.health_url):
            if not self.is_alive():
                raise InferenceUnavailable("Triton ended while it started; its log says why")
            if time.monotonic() > deadline:
                raise InferenceUnavailable(f"Triton does not answer after {timeout_s:g} s")
            time.sleep(POLL_S)

    def stop(self, patience_s: float = STOP_S) -> None:
        """Let it finish what it has begun, for at most `patience_s`."""
        if self._process is not None and self.is_alive():
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a crash would, and the stubs that a crash leaves behind."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        self._sweep()

    def _sweep(self) -> None:
        """Remove the memory that killed servers and stubs on these ports have left behind."""
        for left in FOLDER.glob(f"{self._prefix}*"):
            left.unlink(missing_ok=True)

    def _command(self, backends: Path) -> list[str]:
        program, ports = self._installation.program, self._ports
        in_python = ("python", "onnxruntime") if self._home in backends.parents else ("python",)
        command = [
            str(program),
            f"--model-repository={self._repository.absolute()}",
            f"--backend-directory={backends}",
            f"--cache-directory={self._installation.root / 'caches'}",
            "--model-control-mode=poll",
            f"--repository-poll-secs={RELOAD_S}",
            "--disable-auto-complete-config",
            "--exit-on-error=false",
            f"--exit-timeout-secs={STOP_S:.0f}",
            *(f"--{kind}-address={HOST}" for kind in ("http", "grpc", "metrics")),
            f"--http-port={ports.http}",
            f"--grpc-port={ports.grpc}",
            f"--metrics-port={ports.metrics}",
            *(f"--backend-config={name},{PREFIX}={self._prefix}" for name in in_python),
        ]
        if CLIENT_MEMORY_FLAG in self._help():
            command.append(f"{CLIENT_MEMORY_FLAG}=true")
        return command

    def _help(self) -> str:
        environment = self._installation.environment()
        told = subprocess.run(
            [self._installation.program, "--help"],
            env=environment,
            capture_output=True,
            check=False,
        )
        return (told.stdout + told.stderr).decode(errors="replace")
