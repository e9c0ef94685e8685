"""Shared memory: what clients register with a server is taken back, their own only."""

import signal
import subprocess
import sys
from multiprocessing.shared_memory import SharedMemory

import pytest
from tritonclient import grpc

from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import Bundle
from deepsmile.triton.server import TritonServer
from tests.triton.conftest import endpoint
from tests.triton.test_backend import regions, regions_of, tiles

pytestmark = pytest.mark.slow


def test_it_gives_its_shared_memory_back(triton: TritonServer, bundle: Bundle) -> None:
    before = regions()
    with TritonBackend(bundle, endpoint(triton, "shm")) as remote:
        remote.encode(tiles(1))
        remote.encode(tiles(20))  # outgrows the first region
        assert len(regions() - before) == 1
        assert len(regions_of(triton)) == 2
    assert regions() <= before
    assert regions_of(triton) == []


KILLED = """
import os, sys, numpy as np
from pathlib import Path
from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import load_bundle
from deepsmile.triton.connection import Endpoint
bundle = load_bundle(Path(sys.argv[1]), "tiny")
with TritonBackend(bundle, Endpoint(sys.argv[2], "shm", 1, 5, 5)) as backend:
    backend.encode(np.zeros((2, 224, 224, 3), np.uint8))
    sys.argv[3] == "alone" and os.kill(os.getpid(), 9)
    os.killpg(0, 9)
"""


@pytest.mark.parametrize("how", ["alone", "with what tidies up after it"])
def test_a_worker_that_is_killed_leaves_no_memory(
    triton: TritonServer, bundle: Bundle, how: str
) -> None:
    """The next one takes it away, but not that of a worker that lives."""
    with TritonBackend(bundle, endpoint(triton, "shm")) as living:
        living.encode(tiles(1))
        had = set(regions_of(triton))
        command = [sys.executable, "-c", KILLED, str(bundle.root), triton.url, how]
        killed = subprocess.run(command, start_new_session=True)
        assert killed.returncode == -signal.SIGKILL
        left = set(regions_of(triton)) - had
        assert left != set()
        with TritonBackend(bundle, endpoint(triton, "shm")) as remote:
            remote.encode(tiles(1))
            assert left & (regions() | set(regions_of(triton))) == set()
        assert had == set(regions_of(triton))
        living.encode(tiles(1))
    assert regions_of(triton) == []


ELSEWHERE = """
import sys, numpy as np
from pathlib import Path
from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import load_bundle
from deepsmile.triton.connection import Endpoint
bundle = load_bundle(Path(sys.argv[1]), "tiny")
with TritonBackend(bundle, Endpoint(sys.argv[2], "auto", 1, 5, 5)) as backend:
    backend.encode(np.zeros((2, 224, 224, 3), np.uint8))
    print(backend.name)
"""
OWN_SHM = 'mount -t tmpfs -o "$1" tmpfs /dev/shm && shift && exec "$@"'


@pytest.mark.parametrize("room", ["size=64m", "nr_inodes=1"])
def test_a_worker_in_another_container_leaves_the_memory_of_others(
    triton: TritonServer, bundle: Bundle, room: str
) -> None:
    """In its own /dev/shm it sees none of their files, and would take them all for killed.

    Without room there for a single file, that they share no memory cannot even be tried.
    """
    apart = ["unshare", "--mount", "sh", "-c", OWN_SHM, "sh", room]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
    with TritonBackend(bundle, endpoint(triton, "shm")) as living:
        living.encode(tiles(1))
        had = set(regions_of(triton))
        command = [*apart, sys.executable, "-c", ELSEWHERE, str(bundle.root), triton.url]
        other = subprocess.run(command, capture_output=True, text=True)
        assert (other.returncode, other.stdout.strip()) == (0, "triton 2.51.0 over gRPC")
        assert had == set(regions_of(triton)) != set()


def test_memory_that_is_not_ours_stays(triton: TritonServer, bundle: Bundle) -> None:
    client = grpc.InferenceServerClient(triton.url)
    memory = SharedMemory(create=True, size=64)
    client.register_system_shared_memory("somebody's", memory.name, 64)
    memory.close()
    memory.unlink()
    with TritonBackend(bundle, endpoint(triton, "shm")) as remote:
        remote.encode(tiles(1))
    assert regions_of(triton) == ["somebody's"]
    client.unregister_system_shared_memory("somebody's")
    client.close()
