"""A server that is away for long: jobs wait for it, and are done when it is back."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepsmile.bundle import Bundle
from deepsmile.client import Client
from deepsmile.store.database import Database
from deepsmile.store.jobs import get_job
from deepsmile.triton.install import Installation
from deepsmile.triton.server import Ports, TritonServer
from deepsmile.wire import Job, JobEvent, JobState
from tests.service import RunningService, wait_until
from tests.triton.conftest import START_S, copy_of

pytestmark = pytest.mark.slow

PORTS = Ports.free()


@pytest.fixture
def starving(bundle: Bundle, tmp_path: Path) -> Iterator[RunningService]:
    """A service whose Triton server is not there."""
    with RunningService(
        copy_of(bundle, tmp_path),
        triton_url=f"127.0.0.1:{PORTS.grpc}",
        triton_patience_s=0.1,
        retry_pause_s=0.02,
        sweep_s=0.2,
    ) as running:
        yield running


def waits(job: Job) -> bool:
    """Whether it says that it waits for inference, after more attempts than it may lose."""
    said = job.error is not None and job.error.code == "inference_unavailable"
    return job.state is JobState.ACCEPTED and said and job.attempt > 3


def test_jobs_wait_for_a_server_longer_than_for_anything_else_and_are_done_when_it_is_back(
    starving: RunningService, installation: Installation, slide_path: Path, tmp_path: Path
) -> None:
    events: list[JobEvent] = []
    with Client(starving.url) as client:
        job, other = (client.predict(slide_path, fresh=True).id for _ in range(2))
        wait_until(lambda: waits(client.job(job)) and waits(client.job(other)))
        assert client.cancel(other).state is JobState.CANCELED

        (worker,) = starving.workers
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        starving.workers.remove(worker)
        assert client.job(job).state is JobState.ACCEPTED
        starving.start_worker()

        server = TritonServer(
            installation, starving.settings.model_repository, home=tmp_path / "home", ports=PORTS
        )
        with server:
            server.wait_live(START_S)
            done = client.wait(job, on_event=events.append, timeout_s=60)
    assert (done.state, done.error) == (JobState.COMPLETED, None)
    assert done.result is not None
    assert done.result.run.backend.startswith("triton")
    codes = [event.error.code for event in events if event.error]
    assert set(codes) == {"inference_unavailable"}
    assert len(codes) > starving.settings.max_attempts
    database = Database(starving.settings.database)
    assert get_job(database, job).losses == 0
    database.close()
