"""GET and DELETE of jobs: how far they are, their results, their events, their end."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deepsmile.wire import Job, JobState
from tests.api.conftest import RAW
from tests.making import tissue_image, write_svs
from tests.service import RunningService, wait_until


@pytest.fixture(scope="module")
def done(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A completed job."""
    path = tmp_path_factory.mktemp("jobs") / "slide.svs"
    write_svs(path, tissue_image(1100, 1100, seed=81, tissue=0.9))
    answer = httpx.post(
        f"{service.url}/predict",
        content=path.read_bytes(),
        headers={**RAW, "Prefer": "wait=30"},
        timeout=60,
    )
    job = Job.model_validate(answer.json())
    assert job.state is JobState.COMPLETED
    return job


def events_of(text: str) -> list[dict[str, Any]]:
    """The events in a stream, comments left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        if fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found


def test_a_job_brings_its_result_when_asked(http: httpx.Client, done: Job) -> None:
    plain = Job.model_validate(http.get(done.links.self).json())
    full = Job.model_validate(http.get(done.links.self, params={"result": True}).json())
    assert plain.result is None
    assert full == done
    assert full.result is not None
    assert full.result.heads[0].head == "redness"


def test_a_job_tells_times_in_order_and_in_utc(http: httpx.Client, done: Job) -> None:
    job = http.get(done.links.self).json()
    times = [job[name] for name in ("created_at", "started_at", "finished_at")]
    assert all(time.endswith("Z") for time in times)
    assert sorted(times) == times


def test_a_job_that_did_not_change_is_304(http: httpx.Client, done: Job) -> None:
    first = http.get(done.links.self)
    tag = first.headers["etag"]
    again = http.get(done.links.self, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = http.get(done.links.self, params={"result": True}, headers={"If-None-Match": tag})
    assert other.status_code == 200


def test_events_tell_every_state_to_the_end_and_stop(http: httpx.Client, done: Job) -> None:
    answer = http.get(done.links.events)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    states = [event["data"]["state"] for event in events if event["event"] == "state"]
    order = "accepted fetching qc tiling encoding aggregating storing completed"
    assert states == order.split()
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))


def test_events_resume_after_the_last_one_seen(http: httpx.Client, done: Job) -> None:
    events = events_of(http.get(done.links.events).text)
    seen = {"Last-Event-ID": events[2]["id"]}
    assert events_of(http.get(done.links.events, headers=seen).text) == events[3:]
    last = {"Last-Event-ID": events[-1]["id"]}
    assert events_of(http.get(done.links.events, headers=last).text) == []


@pytest.mark.parametrize("seen", ["", "x", "-1", "1.5", "9" * 20, "9" * 5000])
def test_a_last_event_id_that_is_none_does_no_harm(
    http: httpx.Client, done: Job, seen: str
) -> None:
    answer = http.get(done.links.events, headers={"Last-Event-ID": seen})
    assert answer.status_code == 200


def test_jobs_are_listed_newest_first_in_pages(http: httpx.Client, done: Job) -> None:
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = http.get("/v1/jobs", params={"limit": 2, **cursor}).json()
        found += [job["id"] for job in page["jobs"]]
        assert len(page["jobs"]) <= 2
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    everything = http.get("/v1/jobs", params={"limit": 500}).json()["jobs"]
    assert found == [job["id"] for job in everything]
    assert done.id in found
    times = [job["created_at"] for job in everything]
    assert times == sorted(times, reverse=True)


def test_a_list_keeps_to_a_state(http: httpx.Client, done: Job) -> None:
    jobs = http.get("/v1/jobs", params={"state": "completed", "limit": 500}).json()["jobs"]
    assert {job["state"] for job in jobs} == {"completed"}
    assert done.id in [job["id"] for job in jobs]


def test_a_finished_job_cannot_be_canceled(http: httpx.Client, done: Job) -> None:
    answer = http.delete(done.links.self)
    assert (answer.status_code, answer.json()["code"]) == (409, "job_finished")


def test_a_waiting_job_has_no_result_and_can_be_canceled(talk: Callable[..., Any]) -> None:
    async def go(client: httpx.AsyncClient) -> list[httpx.Response]:
        job = (await client.post("/predict", content=b"slide", headers=RAW)).json()
        return [
            await client.get(job["links"]["result"]),
            await client.delete(job["links"]["self"]),
            await client.delete(job["links"]["self"]),
            await client.get(job["links"]["result"]),
            await client.get(job["links"]["events"]),
        ]

    early, canceled, again, late, events = talk(go)
    assert (early.status_code, early.json()["code"]) == (409, "job_not_finished")
    assert (canceled.status_code, canceled.json()["state"]) == (200, "canceled")
    assert again.json() == canceled.json()
    assert (late.status_code, late.json()["code"]) == (409, "job_canceled")
    assert [e["data"]["state"] for e in events_of(events.text)] == ["accepted", "canceled"]


@pytest.fixture(scope="module")
def slow_service(repository: Path) -> Iterator[RunningService]:
    """A service whose slides say how long they take."""
    with RunningService(repository, worker=("-m", "tests.fake_worker")) as running:
        yield running


def test_a_running_job_tells_progress_and_stops_when_canceled(slow_service: RunningService) -> None:
    slide = json.dumps({"steps": 600, "step_s": 0.05}).encode()
    with httpx.Client(base_url=slow_service.url, timeout=30) as http:
        job = http.post("/predict", content=slide, headers=RAW).json()
        here = job["links"]["self"]
        wait_until(lambda: http.get(here).json()["progress"]["done"] > 3)
        assert http.get(here).json()["progress"]["total"] == 600
        asked = http.delete(here)
        assert (asked.status_code, asked.json()["cancel_requested"]) == (202, True)
        wait_until(lambda: http.get(here).json()["state"] == "canceled", timeout_s=5)
        events = events_of(http.get(job["links"]["events"]).text)
    assert events[-1]["data"]["error"]["code"] == "job_canceled"
    assert sum(event["event"] == "progress" for event in events) <= 1


def test_a_stream_follows_a_job_as_it_goes(slow_service: RunningService) -> None:
    slide = json.dumps({"steps": 30, "step_s": 0.05}).encode()
    with httpx.Client(base_url=slow_service.url, timeout=30) as http:
        job = http.post("/predict", content=slide, headers=RAW).json()
        events = events_of(http.get(job["links"]["events"]).text)
    done = [e["data"]["progress"]["done"] for e in events if e["event"] == "progress"]
    assert len(done) >= 2
    assert done == sorted(done)
    assert events[-1]["data"]["state"] == "completed"


def test_a_slide_sent_again_after_its_cancel_is_scored(slow_service: RunningService) -> None:
    slide = json.dumps({"steps": 40, "step_s": 0.05, "name": "again"}).encode()
    with httpx.Client(base_url=slow_service.url, timeout=30) as http:
        first = http.post("/predict", content=slide, headers=RAW).json()["links"]["self"]
        wait_until(lambda: http.get(first).json()["state"] == "encoding")
        assert http.delete(first).status_code == 202
        again = http.post("/predict", content=slide, headers={**RAW, "Prefer": "wait=30"}).json()
        assert again["state"] == "completed"
        assert http.get(first).json()["state"] == "canceled"
