"""A server that is away, slow, dead or half dead: the right features, or an error that may pass."""

import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from deepsmile.attempt import attempt_next
from deepsmile.backends.onnx import OnnxBackend
from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import Bundle
from deepsmile.errors import BundleMismatch, InferenceUnavailable
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.report import Report, differences
from deepsmile.scorer import BundleScorer
from deepsmile.settings import Settings
from deepsmile.store.database import Database
from deepsmile.store.jobs import get_job, get_report
from deepsmile.triton.config import INSTANCES
from deepsmile.triton.connection import Endpoint, Transport
from deepsmile.triton.pulse import silent_models
from deepsmile.triton.server import Ports, TritonServer
from deepsmile.uploads import upload_path
from deepsmile.wire import JobState
from tests.jobs import accept
from tests.service import wait_until
from tests.triton.conftest import START_S, StartServer, endpoint
from tests.triton.proxy import Proxy
from tests.triton.slow import SlowServer
from tests.triton.test_backend import regions_of, tiles
from tests.triton.test_proof import scale

pytestmark = pytest.mark.slow


def processes(word: str) -> list[psutil.Process]:
    """Those that this process started, and theirs, that have a word in their command line."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [process] if word in " ".join(process.cmdline()) else []
    return found


def test_nobody_there_is_unavailable_and_may_pass(bundle: Bundle) -> None:
    nobody = Endpoint(f"127.0.0.1:{Ports.free().grpc}", "auto", 2, 1.0, 0.5)
    started = time.monotonic()
    with pytest.raises(InferenceUnavailable) as caught, TritonBackend(bundle, nobody):
        pass
    assert caught.value.retryable
    assert 0.2 < time.monotonic() - started < 5


@pytest.mark.parametrize("transport", ["shm", "grpc"])
def test_a_server_that_is_killed_and_started_again_on_the_way_costs_nothing_but_time(
    own: TritonServer,
    bundle: Bundle,
    backend: OnnxBackend,
    reader: Reader,
    big_slide: Path,
    transport: Transport,
) -> None:
    source, kills = SlideSource(big_slide), [8, 24]

    def kill(stage: str, done: int, _total: int) -> None:
        if stage == "encoding" and kills and done >= kills[0]:
            kills.pop(0)
            own.kill()
            own.start()

    with TritonBackend(bundle, endpoint(own, transport)) as remote:
        there = score_slide(source, bundle, remote, reader, progress=kill)
    assert kills == []
    assert there.tiles.used > 40
    assert differences(score_slide(source, bundle, backend, reader), there) == []


@pytest.mark.parametrize("transport", ["shm", "grpc"])
def test_a_server_that_comes_back_with_another_model_is_refused(
    own: TritonServer, served: Path, bundle: Bundle, transport: Transport
) -> None:
    """In the middle of a slide, and although it says that it has the right one."""
    with TritonBackend(bundle, endpoint(own, transport)) as remote:
        remote.encode(tiles(2))
        own.kill()
        scale(served / "tiny_encoder/1/model.onnx", "scale", 1.005)
        own.start()
        with pytest.raises(BundleMismatch, match="but gives other features"):
            remote.encode(tiles(2))


def test_a_job_waits_for_a_server_that_is_down_and_is_done_when_it_is_back(
    own: TritonServer, bundle: Bundle, database: Database, tmp_path: Path, slide_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        model_repository=bundle.root,
        retry_pause_s=0,
        triton_url=own.url,
        triton_patience_s=0.2,
    )
    job = accept(database, bundle_digest=bundle.digest)
    settings.uploads.mkdir(parents=True)
    shutil.copy(slide_path, upload_path(settings.uploads, job.id))
    scorer = BundleScorer(settings)
    own.kill()
    attempt_next("w", database, scorer, settings)
    waiting = get_job(database, job.id)
    assert (waiting.state, waiting.losses) == (JobState.ACCEPTED, 0)
    own.start()
    own.wait_live(START_S)
    attempt_next("w", database, scorer, settings)
    assert get_job(database, job.id).state is JobState.COMPLETED
    report = Report.model_validate_json(get_report(database, job.id) or "")
    assert report.run.backend == "triton 2.51.0 over shared memory"


def test_one_lost_answer_whichever_it_is_costs_no_slide(
    triton: TritonServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    """Before the slide, in the middle and after it; and what it left there the next one clears."""
    some = tiles(3)
    right = backend.encode(some)
    answers: list[str] = []

    def encode(lost: int) -> None:
        def lose(method: str, answer: bytes) -> bytes | None:
            answers.append(method)
            return None if len(answers) == lost else answer

        answers.clear()
        with (
            Proxy(triton.url, lose) as proxy,
            TritonBackend(bundle, endpoint(proxy, "shm", in_flight=1)) as remote,
        ):
            np.testing.assert_allclose(remote.encode(some), right, atol=1e-5)

    encode(0)
    asked = list(answers)
    assert asked.count("SystemSharedMemoryStatus") == 2
    for lost in range(1, len(asked) + 1):
        encode(lost)
    encode(0)
    assert regions_of(triton) == []


def test_an_answer_that_takes_too_long_is_asked_for_again(
    slow: SlowServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    with TritonBackend(bundle, endpoint(slow, "shm", timeout_s=0.5)) as remote:
        slow.delay(1.0)
        started = time.monotonic()
        np.testing.assert_allclose(remote.encode(tiles(3)), backend.encode(tiles(3)), atol=1e-5)
        assert 0.5 < time.monotonic() - started < 5


def test_an_answer_that_comes_late_spoils_no_later_one(
    slow: SlowServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    """It is written to shared memory after its request was given up: not where the next one's is.

    The first answer is written 1.6 s after it was asked for, and given up after 1.0 s; the second
    request's answer is held back, so that it is read only after that.
    """
    hold_s = [0.0]

    def hold(method: str, answer: bytes) -> bytes:
        time.sleep(hold_s[0] if method == "ModelInfer" else 0)
        return answer

    with (
        Proxy(slow.url, hold) as proxy,
        TritonBackend(bundle, endpoint(proxy, "shm", in_flight=1, timeout_s=1.0)) as remote,
    ):
        slow.delay(1.6)
        np.testing.assert_allclose(remote.encode(tiles(2)), backend.encode(tiles(2)), atol=1e-5)
        hold_s[0] = 0.9
        other = tiles(2, seed=1)
        np.testing.assert_allclose(remote.encode(other), backend.encode(other), atol=1e-5)


def test_answers_that_take_too_long_for_ever_are_an_error_that_may_pass(
    slow: SlowServer, bundle: Bundle
) -> None:
    with TritonBackend(bundle, endpoint(slow, timeout_s=0.3, patience_s=0.6)) as remote:
        for _ in range(6):
            slow.delay(1.0)
        with pytest.raises(InferenceUnavailable, match="Deadline Exceeded"):
            remote.encode(tiles(3))


def test_a_server_that_hangs_is_waited_for(
    own: TritonServer, bundle: Bundle, backend: OnnxBackend
) -> None:
    (server,) = processes(f"--grpc-port={own.url.rpartition(':')[2]}")
    with TritonBackend(bundle, endpoint(own, timeout_s=0.5, patience_s=1.0)) as remote:
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(InferenceUnavailable):
            remote.encode(tiles(2))
        server.send_signal(signal.SIGCONT)
        np.testing.assert_allclose(remote.encode(tiles(2)), backend.encode(tiles(2)), atol=1e-5)


def test_a_dead_stub_is_found_out_although_its_model_is_said_to_be_ready(
    own: TritonServer, bundle: Bundle, served: Path
) -> None:
    """The server does not start it again; whoever watches over the server must."""
    assert silent_models(own.url, 10) == {}
    with TritonBackend(bundle, endpoint(own, patience_s=0.3)) as remote:
        stubs = processes(f"{served}/tiny_encoder/")
        assert len(stubs) == INSTANCES
        for stub in stubs:
            stub.kill()
        with pytest.raises(InferenceUnavailable, match="not healthy"):
            remote.encode(tiles(2))
    silent = silent_models(own.url, 10)
    assert list(silent) == ["tiny_encoder version 1"]
    assert "not healthy" in silent["tiny_encoder version 1"]


def test_a_killed_server_leaves_no_process_and_no_memory_behind(
    start_server: StartServer, served: Path
) -> None:
    """Stubs end by themselves as a rule, but not when one of them was killed before."""
    server = start_server(served)
    started = processes(f"{served}/tiny_")
    memory = f"deepsmile-{server.url.rpartition(':')[2]}-*"
    stubs = INSTANCES + 1  # of the encoder and of the head
    assert (len(started), len(list(Path("/dev/shm").glob(memory)))) == (stubs, stubs)
    processes(f"{served}/tiny_encoder/")[0].kill()
    wait_until(lambda: len(silent_models(server.url, 10)) == 1)
    server.kill()
    assert list(Path("/dev/shm").glob(memory)) == []
    assert psutil.wait_procs(started, 10)[1] == []
