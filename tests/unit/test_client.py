"""The clients: what they send, how they read answers, how they bear with a bad connection.

Every test runs with `Client` and with `AsyncClient`; the service is a function.
"""

import asyncio
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from deepsmile.api.examples import EXAMPLES
from deepsmile.client import AsyncClient, Client
from deepsmile.errors import (
    JobNotFinished,
    RequestInvalid,
    ServiceUnreachable,
    SlideNotFound,
    StorageFull,
)
from deepsmile.wire import Job, JobEvent, JobState, Problem

pytestmark = pytest.mark.slow

Handler = Callable[[httpx.Request], httpx.Response]
Ask = Callable[..., Any]
"""ask(handler, method, *arguments, **options): call a method of a client."""

DONE, RUNNING = EXAMPLES["done"], EXAMPLES["running"]
JOB_ID = str(DONE["id"])
PROBLEM = Problem(
    type="urn:deepsmile:error:storage_full",
    title="Storage full",
    status=507,
    detail="5 bytes are free",
    code="storage_full",
    hint="Free space.",
    retryable=True,
    instance="/v1/jobs",
).model_dump()


def ask_sync(handler: Handler, method: str, *arguments: Any, **options: Any) -> Any:
    with Client("http://service", transport=httpx.MockTransport(handler)) as client:
        answer = getattr(client, method)(*arguments, **options)
        return list(answer) if method == "jobs" else answer


def ask_async(handler: Handler, method: str, *arguments: Any, **options: Any) -> Any:
    async def wholly(request: httpx.Request) -> httpx.Response:
        await request.aread()
        return handler(request)

    async def go() -> Any:
        transport = httpx.MockTransport(wholly)
        async with AsyncClient("http://service", transport=transport) as client:
            answer = getattr(client, method)(*arguments, **options)
            return [job async for job in answer] if method == "jobs" else await answer

    return asyncio.run(go())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    ask: Ask = request.param
    return ask


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """2.5 blocks of bytes."""
    path = tmp_path / "JANE_DOE.svs"
    path.write_bytes(bytes(range(256)) * 10_240)
    return path


class Recorder:
    """Answers in turn, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | type[httpx.TransportError]) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.bodies.append(request.read())
        answer = self._answers.pop(0)
        if isinstance(answer, httpx.Response):
            return answer
        raise answer("cut", request=request)


def done() -> httpx.Response:
    return httpx.Response(200, json=DONE)


def running() -> httpx.Response:
    return httpx.Response(200, json=RUNNING)


def stream(*events: tuple[int, str, int]) -> httpx.Response:
    """Events (id, state, tiles done)."""
    text = ": ping\n\n"
    for number, state, tiles in events:
        data = (
            f'{{"state":"{state}","progress":{{"done":{tiles},"total":9}},'
            '"at":"2026-11-22T20:00:00Z"}'
        )
        text += f"event: state\ndata: {data}\nid: {number}\n\n"
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


def test_an_upload_is_the_slide_with_its_options_and_a_key(ask: Ask, slide: Path) -> None:
    service, told = Recorder(httpx.Response(202, json=RUNNING)), []
    job = ask(
        service, "predict", slide, mpp=0.25, bundle="demo", on_upload=lambda *n: told.append(n)
    )
    (request,) = service.requests
    size = slide.stat().st_size
    assert service.bodies == [slide.read_bytes()]
    assert dict(request.url.params) == {"bundle": "demo", "mpp": "0.25"}
    assert request.headers["content-type"] == "application/octet-stream"
    assert request.headers["content-length"] == str(size)
    assert "transfer-encoding" not in request.headers
    assert len(request.headers["idempotency-key"]) == 32
    assert "JANE" not in str(request.url) + str(request.headers)
    assert told == [(1 << 20, size), (2 << 20, size), (size, size)]
    assert job == Job.model_validate(RUNNING)


def test_an_open_file_is_sent_from_where_it_stands_and_stays_open(ask: Ask) -> None:
    file = io.BytesIO(b"skip the slide")
    file.seek(9)
    service = Recorder(done())
    ask(service, "predict", file)
    assert service.bodies == [b"slide"]
    assert not file.closed


def test_waiting_is_asked_of_the_service(ask: Ask, slide: Path) -> None:
    service = Recorder(done())
    job = ask(service, "predict", slide, wait_s=30, fresh=True, idempotency_key="mine")
    headers = service.requests[0].headers
    assert (headers["prefer"], headers["idempotency-key"]) == ("wait=30", "mine")
    assert dict(service.requests[0].url.params) == {"fresh": "true"}
    assert job.result is not None


def test_a_slide_in_reach_is_named_by_its_path(ask: Ask) -> None:
    service = Recorder(done())
    ask(service, "predict_path", "/slides/a.svs", mpp=0.5)
    assert service.requests[0].headers["content-type"] == "application/json"
    assert service.bodies == [b'{"mpp":0.5,"path":"/slides/a.svs"}']


def test_a_cut_upload_is_sent_again_whole_with_the_same_key(ask: Ask, slide: Path) -> None:
    service = Recorder(httpx.ReadError, done())
    assert ask(service, "predict", slide).id == JOB_ID
    first, second = (request.headers["idempotency-key"] for request in service.requests)
    assert first == second
    assert service.bodies == [slide.read_bytes()] * 2


def test_a_service_that_never_answers_is_unreachable(ask: Ask) -> None:
    service = Recorder(*[httpx.ConnectError] * 3)
    with pytest.raises(ServiceUnreachable, match="/v1/bundles"):
        ask(service, "bundles")
    assert len(service.requests) == 3


def test_a_problem_is_raised_as_the_error_it_was(ask: Ask, slide: Path) -> None:
    with pytest.raises(StorageFull) as caught:
        ask(Recorder(httpx.Response(507, json=PROBLEM)), "predict", slide)
    assert (caught.value.detail, caught.value.hint) == ("5 bytes are free", "Free space.")


@pytest.mark.parametrize("status", [200, 502])
def test_an_answer_of_somebody_else_is_unreachable(ask: Ask, status: int) -> None:
    with pytest.raises(ServiceUnreachable, match=str(status)):
        ask(Recorder(httpx.Response(status, text="<html>Proxy</html>")), "job", JOB_ID)


def test_a_missing_file_is_told_before_anything_is_sent(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(SlideNotFound):
        ask(Recorder(), "predict", tmp_path / "nope.svs")


def test_all_pages_of_jobs_are_read(ask: Ask) -> None:
    last = httpx.Response(200, json={"jobs": [DONE], "next": None})
    service = Recorder(httpx.Response(200, json=EXAMPLES["page"]), last)
    jobs = ask(service, "jobs", JobState.ENCODING)
    assert [job.state for job in jobs] == [JobState.ENCODING, JobState.COMPLETED]
    asked = [dict(request.url.params) for request in service.requests]
    wanted = {"limit": "100", "state": "encoding"}
    assert asked == [wanted, {**wanted, "cursor": "41"}]


def test_waiting_follows_events_and_resumes_after_a_cut(ask: Ask) -> None:
    cut = stream((3, "qc", 0), (4, "encoding", 1))
    service = Recorder(cut, running(), stream((5, "completed", 0)), done())
    seen: list[JobEvent] = []
    job = ask(service, "wait", JOB_ID, on_event=seen.append)
    assert [(event.state, event.progress.done) for event in seen] == [
        ("qc", 0),
        ("encoding", 1),
        ("completed", 0),
    ]
    assert "last-event-id" not in service.requests[0].headers
    assert service.requests[2].headers["last-event-id"] == "4"
    assert job.result is not None


def test_waiting_polls_where_events_do_not_get_through(ask: Ask) -> None:
    blocked = httpx.Response(502, text="<html>Proxy</html>")
    service = Recorder(blocked, running(), httpx.ReadTimeout, done())
    assert ask(service, "wait", JOB_ID).state is JobState.COMPLETED


def test_waiting_outlives_a_service_that_restarts(ask: Ask) -> None:
    gone = [httpx.ConnectError] * 4
    assert ask(Recorder(*gone, stream(), done()), "wait", JOB_ID).has_ended


def test_waiting_ends_with_the_time_that_was_given(ask: Ask) -> None:
    service = Recorder(stream(), running(), stream(), running(), stream(), running())
    with pytest.raises(JobNotFinished, match="encoding"):
        ask(service, "wait", JOB_ID, timeout_s=0.5)


def test_waiting_for_no_job_ends_at_once(ask: Ask) -> None:
    problem = {**PROBLEM, "code": "request_invalid", "status": 422}
    service = Recorder(httpx.Response(404), httpx.Response(422, json=problem))
    with pytest.raises(RequestInvalid):
        ask(service, "wait", "nope")


@pytest.mark.parametrize(
    ("method", "argument", "line", "example"),
    [
        ("result", JOB_ID, f"GET /v1/jobs/{JOB_ID}/result", "report"),
        ("cancel", JOB_ID, f"DELETE /v1/jobs/{JOB_ID}", "canceled"),
        ("bundle", "demo", "GET /v1/bundles/demo", "bundle"),
    ],
)
def test_each_method_asks_its_route(
    ask: Ask, method: str, argument: str, line: str, example: str
) -> None:
    service = Recorder(httpx.Response(200, json=EXAMPLES[example]))
    answer = ask(service, method, argument)
    request = service.requests[0]
    assert f"{request.method} {request.url.path}" == line
    assert answer.model_dump(mode="json").items() >= EXAMPLES[example].items()


def test_the_client_brings_no_server_along() -> None:
    code = "import sys, deepsmile.client; sys.stdout.write(' '.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(found.stdout.split())
    assert not loaded & {"fastapi", "sqlalchemy", "celery", "torch", "cv2", "onnxruntime"}
