"""Overload: a server with more to do than it can answer in time loses nothing by being asked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import Bundle
from deepsmile.triton.connection import Transport
from deepsmile.triton.pulse import silent_models
from tests.service import wait_until
from tests.triton.conftest import StartServer, copy_of, endpoint
from tests.triton.proxy import Proxy
from tests.triton.slow import SlowServer, slow_server
from tests.triton.test_backend import regions_of, tiles

pytestmark = pytest.mark.slow

CALLERS = 8
ALONE = 33
"""Tiles of which the server takes no two requests at once."""


@pytest.fixture
def narrow(start_server: StartServer, bundle: Bundle, tmp_path: Path) -> Iterator[SlowServer]:
    """One that turns away what finds two requests waiting."""
    policy = "default_queue_policy { max_queue_size: 2 }"
    repository = copy_of(bundle, tmp_path)
    with slow_server(start_server, repository, queue_policy=policy) as server:
        yield server


def requests(url: str) -> tuple[int, int]:
    """Of the encoder: how many were answered, and by how many calls of the model."""
    client = grpc.InferenceServerClient(url)
    (told,) = client.get_inference_statistics("tiny_encoder").model_stats
    client.close()
    return told.inference_stats.success.count, told.execution_count


def test_a_server_that_lives_is_given_time_and_not_proven_again(
    slow: SlowServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    """A proof would wait in the same queue."""
    calls: list[str] = []

    def note(method: str, answer: bytes) -> bytes:
        calls.append(method)
        return answer

    with (
        Proxy(slow.url, note) as proxy,
        TritonBackend(bundle, endpoint(proxy, "grpc", in_flight=1, timeout_s=0.5)) as remote,
        slow.pace(0.8),
    ):
        calls.clear()
        for seed in range(2):
            some = tiles(2, seed)
            np.testing.assert_allclose(remote.encode(some), backend.encode(some), atol=1e-5)
        assert "ModelConfig" not in calls
        assert calls.count("ServerLive") == 1, "the second request was given time at once"


def test_more_requests_than_it_can_answer_in_time_are_all_answered(
    slow: SlowServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    """8 at once, 0.3 s each, two at a time: the last waits for 1.2 s, and 0.4 s are the timeout."""
    many = [tiles(ALONE, seed) for seed in range(CALLERS)]
    patient = endpoint(slow, "shm", in_flight=CALLERS, timeout_s=0.4, patience_s=6.0)
    with (
        TritonBackend(bundle, patient) as remote,
        slow.pace(0.3),
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        found = list(pool.map(remote.encode, many))
    for one, answer in zip(many, found, strict=True):
        np.testing.assert_allclose(answer, backend.encode(one), atol=1e-5)


def test_who_is_turned_away_from_a_full_queue_waits_and_keeps_its_memory(
    narrow: SlowServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    many = [tiles(ALONE, seed) for seed in range(CALLERS)]
    with (
        TritonBackend(bundle, endpoint(narrow, "shm", in_flight=CALLERS)) as remote,
        ThreadPoolExecutor(CALLERS) as pool,
        narrow.pace(0.2),
    ):
        found = list(pool.map(remote.encode, many))
        assert len(regions_of(narrow)) <= 2 * CALLERS, "one for the proof, one for the tiles"
    for one, answer in zip(many, found, strict=True):
        np.testing.assert_allclose(answer, backend.encode(one), atol=1e-5)


def test_a_slow_answer_is_no_reason_to_leave_shared_memory(
    slow: SlowServer, bundle: Bundle
) -> None:
    slow.delay(0.8)
    with TritonBackend(bundle, endpoint(slow, "auto", timeout_s=0.4)) as remote:
        assert remote.name == "triton 2.51.0 over shared memory"


def test_a_server_with_too_much_to_do_is_not_taken_for_dead(
    slow: SlowServer, bundle: Bundle
) -> None:
    """Whoever watches over it would start it again; a model that computes nothing is dead."""
    with (
        TritonBackend(bundle, endpoint(slow, in_flight=CALLERS)) as remote,
        ThreadPoolExecutor(CALLERS) as pool,
        slow.pace(0.5),
    ):
        asked = [pool.submit(remote.encode, tiles(ALONE)) for _ in range(CALLERS)]
        _, before = requests(slow.url)
        wait_until(lambda: requests(slow.url)[1] > before, 30)
        assert silent_models(slow.url, 0.7) == {}
        for one in asked:
            one.result()
    with slow.pace(1.5):
        assert list(silent_models(slow.url, 0.7)) == ["tiny_encoder version 1"]


def test_requests_of_several_workers_are_computed_together(
    slow: SlowServer, bundle: Bundle
) -> None:
    """Each has one in flight: two hold both instances up, and the others' wait for one call."""
    transports: tuple[Transport, ...] = ("shm", "grpc", "shm", "grpc")
    with ExitStack() as stack, ThreadPoolExecutor(len(transports)) as pool:
        each = [endpoint(slow, transport, in_flight=1) for transport in transports]
        workers = [stack.enter_context(TritonBackend(bundle, one)) for one in each]
        answered, calls = requests(slow.url)
        with slow.pace(0.3):
            list(pool.map(lambda worker: worker.encode(tiles(4)), workers * 3))
        answered_now, calls_now = requests(slow.url)
    assert answered_now - answered >= 12, "given-up ones of the tests before may end now"
    assert calls_now - calls < answered_now - answered
