"""Loopback: servers of ours on this machine: free ports, whether one answers, how they end."""

import ctypes
import signal
import socket
import subprocess

import httpx

from deepsmile.errors import RequestInvalid

HOST = "127.0.0.1"
ANSWER_S = 1.0
PR_SET_PDEATHSIG = 1


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on."""
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def check_free(host: str, port: int) -> None:
    """Raises RequestInvalid if nobody can listen there, most often since somebody does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        hint = "Stop what listens there, or choose another address with --host and --port."
        told = f"cannot listen on port {port} of {host}: {error.strerror}"
        raise RequestInvalid(told, hint=hint) from error


def is_answering(url: str) -> bool:
    """Whether a GET brings 200."""
    try:
        return httpx.get(url, timeout=ANSWER_S).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Ask it to, and kill it if it has not in time."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """For `preexec_fn`: the process is told to stop when the thread that started it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
