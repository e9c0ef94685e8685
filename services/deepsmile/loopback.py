"""Loopback: servers of ours on this machine: ports that are free, and whether one answers."""

import socket

import httpx

HOST = "127.0.0.1"
ANSWER_S = 1.0


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on."""
    probes = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def is_answering(url: str) -> bool:
    """Whether a GET brings 200."""
    try:
        return httpx.get(url, timeout=ANSWER_S).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
