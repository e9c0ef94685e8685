"""The backend on a real server: the numbers of the other backend, however they travel."""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import Bundle
from deepsmile.errors import BundleMismatch, InferenceUnavailable
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.report import differences
from deepsmile.triton.connection import Transport
from deepsmile.triton.server import TritonServer
from tests.making import FEATURE_DIM
from tests.service import wait_until
from tests.triton.conftest import endpoint
from tests.triton.proxy import Proxy

pytestmark = pytest.mark.slow

HOW = {"shm": "over shared memory", "grpc": "over gRPC", "auto": "over shared memory"}


def tiles(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), np.uint8)


def regions() -> set[str]:
    """What lies in the shared memory of this machine under Python's names."""
    return {path.name for path in Path("/dev/shm").glob("psm_*")}


def regions_of(server: TritonServer) -> list[str]:
    """What clients have registered with a server."""
    client = grpc.InferenceServerClient(server.url)
    found = list(client.get_system_shared_memory_status().regions)
    client.close()
    return found


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """In here no file, and no shared memory, grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("transport", ["shm", "grpc", "auto"])
def test_features_and_logits_are_those_of_the_backend_in_process(
    triton: TritonServer, bundle: Bundle, backend: OnnxBackend, transport: Transport
) -> None:
    """More tiles than the server takes at once are sent in parts."""
    with TritonBackend(bundle, endpoint(triton, transport)) as remote:
        assert remote.name == f"triton 2.51.0 {HOW[transport]}"
        for count in (1, 5, 64, 130):
            some = tiles(count)
            np.testing.assert_allclose(remote.encode(some), backend.encode(some), atol=1e-5)
        head = bundle.contract.heads[0]
        for count in (1, 2, 20_000):
            bag = np.random.default_rng(count).random((count, FEATURE_DIM), np.float32)
            for ours, theirs in zip(remote.score(head, bag), backend.score(head, bag), strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("transport", ["shm", "grpc"])
def test_a_slide_has_the_same_report(
    triton: TritonServer,
    bundle: Bundle,
    backend: OnnxBackend,
    reader: Reader,
    slide_path: Path,
    transport: Transport,
) -> None:
    source = SlideSource(slide_path)
    here = score_slide(source, bundle, backend, reader)
    with TritonBackend(bundle, endpoint(triton, transport)) as remote:
        there = score_slide(source, bundle, remote, reader)
    assert differences(here, there) == []
    assert there.run.backend == f"triton 2.51.0 {HOW[transport]}"


@pytest.mark.parametrize("transport", ["shm", "grpc"])
def test_more_callers_than_requests_in_flight_get_each_their_own(
    triton: TritonServer, bundle: Bundle, backend: OnnxBackend, transport: Transport
) -> None:
    batches = [tiles(1 + seed % 5, seed) for seed in range(48)]
    with (
        TritonBackend(bundle, endpoint(triton, transport, in_flight=3)) as remote,
        ThreadPoolExecutor(16) as pool,
    ):
        found = list(pool.map(remote.encode, batches))
    for batch, features in zip(batches, found, strict=True):
        np.testing.assert_allclose(features, backend.encode(batch), atol=1e-5)


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
    print(*(path.name for path in Path("/dev/shm").glob("psm_*")), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_worker_that_is_killed_leaves_no_memory(triton: TritonServer, bundle: Bundle) -> None:
    command = [sys.executable, "-c", KILLED, str(bundle.root), triton.url]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    had = set(killed.stdout.split())
    assert had != set()
    wait_until(lambda: not regions() & had, 10)


def test_without_room_for_a_batch_it_goes_over_the_wire(
    triton: TritonServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    """Containers often have 64 MB of shared memory; a write beyond would be a SIGBUS."""
    many = tiles(30)
    with TritonBackend(bundle, endpoint(triton, "auto")) as remote, files_of_at_most(1 << 20):
        np.testing.assert_allclose(remote.encode(many), backend.encode(many), atol=1e-5)
    with (
        TritonBackend(bundle, endpoint(triton, "shm", patience_s=0)) as remote,
        files_of_at_most(1 << 20),
        pytest.raises(InferenceUnavailable, match="no room for 4 MiB"),
    ):
        remote.encode(many)


def test_a_server_that_shares_no_memory_is_asked_over_the_wire(
    triton: TritonServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    """As Triton is since 26.04, unless told otherwise."""

    def refuse(method: str, _answer: bytes) -> bytes | None:
        return None if method == "SystemSharedMemoryRegister" else _answer

    with Proxy(triton.url, refuse) as proxy:
        with TritonBackend(bundle, endpoint(proxy, "auto")) as remote:
            assert remote.name == "triton 2.51.0 over gRPC"
            np.testing.assert_allclose(remote.encode(tiles(3)), backend.encode(tiles(3)), atol=1e-5)
        with (
            pytest.raises(InferenceUnavailable),
            TritonBackend(bundle, endpoint(proxy, "shm", patience_s=0)),
        ):
            pass


def test_an_answer_of_another_version_is_a_mismatch(triton: TritonServer, bundle: Bundle) -> None:
    def another(method: str, answer: bytes) -> bytes:
        if method != "ModelInfer":
            return answer
        response = grpc.service_pb2.ModelInferResponse.FromString(answer)
        response.model_version = "7"
        return bytes(response.SerializeToString())

    with (
        Proxy(triton.url, another) as proxy,
        pytest.raises(BundleMismatch, match="asked tiny_encoder version 1, version 7 answered"),
        TritonBackend(bundle, endpoint(proxy)),
    ):
        pass
