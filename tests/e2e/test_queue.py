"""A slide's way through the whole service, as its clients see it."""

import asyncio
from pathlib import Path

import pytest

from deepsmile.client import AsyncClient, Client
from deepsmile.errors import (
    BundleUnknown,
    JobFinished,
    JobNotFound,
    PathNotAllowed,
    ServiceUnreachable,
    SlideUnsupported,
)
from deepsmile.report import Report, Scored, differences
from deepsmile.wire import JobEvent, JobState
from tests.making import tissue_image, write_svs
from tests.service import RunningService, free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = tissue_image(1600, 1100, seed=91, tissue=0.9)
    return write_svs(tmp_path_factory.mktemp("e2e") / "slide.svs", image)


def test_a_slide_goes_in_and_its_report_comes_out(service: RunningService, slide: Path) -> None:
    events: list[JobEvent] = []
    with Client(service.url) as client:
        job = client.predict(slide)
        done = client.wait(job.id, on_event=events.append)
        report = client.result(job.id)
    assert done.state is JobState.COMPLETED
    assert done.result == report
    assert isinstance(report.heads[0], Scored)
    assert [event.state for event in events][-1] is JobState.COMPLETED
    assert any(event.state is JobState.ENCODING and event.progress.total > 0 for event in events)


def test_both_clients_get_the_same_answer(service: RunningService, slide: Path) -> None:
    async def ask() -> Report | None:
        async with AsyncClient(service.url) as client:
            job = await client.predict(slide, fresh=True)
            return (await client.wait(job.id)).result

    with Client(service.url) as client:
        first = client.predict(slide, wait_s=30).result
    second = asyncio.run(ask())
    assert first is not None
    assert second is not None
    assert first.run.job_id != second.run.job_id
    assert differences(first, second) == []


def test_errors_of_the_service_come_back_as_they_were(
    service: RunningService, slide: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.svs"
    text.write_text("no slide")
    with Client(service.url) as client:
        with pytest.raises(BundleUnknown, match="tiny"):
            client.predict(slide, bundle="nope")
        with pytest.raises(PathNotAllowed):
            client.predict_path("/etc/passwd")
        with pytest.raises(JobNotFound):
            client.job("0" * 32)
        failed = client.wait(client.predict(text).id)
        with pytest.raises(SlideUnsupported):
            client.result(failed.id)
        with pytest.raises(JobFinished):
            client.cancel(failed.id)


def test_nobody_there_is_unreachable_and_says_how_to_start_it() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url) as client, pytest.raises(ServiceUnreachable) as caught:
        client.bundles()
    assert "deepsmile up" in caught.value.hint


def test_jobs_and_bundles_are_listed(service: RunningService, slide: Path) -> None:
    with Client(service.url) as client:
        job = client.predict(slide, wait_s=30)
        assert job.id in [listed.id for listed in client.jobs(JobState.COMPLETED)]
        (bundle,) = client.bundles()
        assert client.bundle(bundle.name).digest == bundle.digest == job.bundle.digest
