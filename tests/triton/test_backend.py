"""The backend on a real server: the numbers of the other backend, however they travel."""

import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.backends.triton import TritonBackend, arithmetic
from deepsmile.bundle import Bundle
from deepsmile.digest import digest_of_slide
from deepsmile.errors import BundleMismatch, InferenceUnavailable
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.report import differences
from deepsmile.scorer import BundleScorer, Work
from deepsmile.settings import Settings
from deepsmile.stages import no_progress
from deepsmile.triton.config import digest_parameter
from deepsmile.triton.connection import Connection, Transport
from deepsmile.triton.models import encoder_model
from deepsmile.triton.server import TritonServer
from deepsmile.triton.shared import OURS
from tests.making import FEATURE_DIM
from tests.triton.conftest import HasUrl, endpoint
from tests.triton.proxy import Proxy

pytestmark = pytest.mark.slow

HOW = {"shm": "over shared memory", "grpc": "over gRPC", "auto": "over shared memory"}


def tiles(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), np.uint8)


def regions() -> set[str]:
    """What lies in the shared memory of this machine under our clients' names."""
    return {path.name for path in Path("/dev/shm").glob(f"{OURS}*")}


def regions_of(server: HasUrl) -> list[str]:
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


def test_how_tensors_travel_is_told_and_does_not_change_what_computes(
    triton: TritonServer, bundle: Bundle
) -> None:
    """Features are kept by what computed them."""
    found = []
    for transport in ("shm", "grpc"):
        with TritonBackend(bundle, endpoint(triton, transport)) as remote:
            found.append((remote.name, remote.runtime))
    (over_memory, runtime), (over_wire, same_runtime) = found
    assert over_memory != over_wire
    assert runtime == same_runtime
    assert runtime.startswith("triton 2.51.0 ")


def test_features_are_found_again_however_they_travelled(
    triton: TritonServer, bundle: Bundle, slide_path: Path, tmp_path: Path
) -> None:
    """The slide is gone by then."""
    slide = Path(shutil.copy(slide_path, tmp_path))
    source, reports = SlideSource(slide, digest_of_slide(slide)), []
    for transport in ("shm", "grpc"):
        settings = Settings(
            data_dir=tmp_path / "data",
            model_repository=bundle.root,
            triton_url=triton.url,
            triton_transport=transport,
        )
        work = Work("1", source, bundle.name, bundle.digest)
        reports.append(BundleScorer(settings)(work, no_progress))
        slide.unlink(missing_ok=True)
    assert differences(*reports) == []


def test_what_computes_is_another_on_another_device_or_with_other_options(
    triton: TritonServer, bundle: Bundle
) -> None:
    """And the same when another version of the model is served beside it, or by more instances."""
    with closing(Connection(endpoint(triton))) as connection:
        told = connection.config(encoder_model(bundle))
    assert arithmetic(told)["kinds"] == ["KIND_CPU"], "the server resolves KIND_AUTO"

    def changed(**sections: Any) -> bool:
        return arithmetic(told | sections) != arithmetic(told)

    assert changed(platform="tensorrt_plan")
    assert changed(instance_group=[{"name": "e_0", "count": 2, "kind": "KIND_GPU"}])
    assert changed(optimization={"execution_accelerators": {}})
    assert changed(parameters=told["parameters"] | {"precision": {"string_value": "FP16"}})
    assert not changed(instance_group=[{"name": "e_0", "count": 9, "kind": "KIND_CPU"}])
    second = {digest_parameter("2"): {"string_value": "0" * 64}}
    assert not changed(parameters=told["parameters"] | second)


def test_without_room_for_a_batch_it_goes_over_the_wire(
    triton: TritonServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    """Containers often have 64 MB of shared memory; a write beyond would be a SIGBUS.

    And the name, which the report gives, says so.
    """
    few, many = tiles(1), tiles(30)
    remote = TritonBackend(bundle, endpoint(triton, "auto", in_flight=1))
    with remote, files_of_at_most(1 << 20):
        assert remote.name == "triton 2.51.0 over shared memory", "as it was proven"
        np.testing.assert_allclose(remote.encode(many), backend.encode(many), atol=1e-5)
        assert remote.name == "triton 2.51.0 over gRPC"
    with remote, files_of_at_most(1 << 20):
        for some in (few, many):
            np.testing.assert_allclose(remote.encode(some), backend.encode(some), atol=1e-5)
        assert remote.name == "triton 2.51.0 over shared memory and gRPC"
    with files_of_at_most(1 << 12), remote:
        assert remote.name == "triton 2.51.0 over gRPC", "as there was no room to prove it"
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
