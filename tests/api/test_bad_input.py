"""Input that is wrong, cut or too much: a problem says so, nothing is left, the service goes on."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deepsmile.api.app import create_app
from deepsmile.settings import Settings
from deepsmile.wire import Problem
from tests.api.conftest import RAW, post_to
from tests.making import tissue_image, write_svs
from tests.service import RunningService, wait_until

MIB = 1 << 20
Post = Callable[..., httpx.Response]


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem document, which must be one."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(answer.json())
    assert problem.type == f"urn:deepsmile:error:{problem.code}"
    assert problem.status == answer.status_code
    assert problem.instance == answer.request.url.path
    assert problem.hint
    return answer.status_code, problem.code


def leftovers(settings: Settings) -> list[str]:
    """What lies in the folder of uploads."""
    folder = settings.uploads
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def test_an_empty_body_is_an_empty_slide(post: Post, settings: Settings) -> None:
    assert code_of(post(content=b"", headers=RAW)) == (422, "slide_empty")
    assert code_of(post(files={"file": ("a", b"")})) == (422, "slide_empty")
    assert leftovers(settings) == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
def test_another_content_type_is_unsupported(post: Post, kind: str) -> None:
    answer = post(content=b"slide", headers={"Content-Type": kind})
    assert code_of(answer) == (415, "content_type_unsupported")


def test_no_content_type_is_unsupported(post: Post) -> None:
    assert code_of(post(content=b"slide")) == (415, "content_type_unsupported")


def test_an_unknown_bundle_is_told_before_the_slide_is_read(post: Post, settings: Settings) -> None:
    answer = post(params={"bundle": "nope"}, content=b"slide", headers=RAW)
    assert code_of(answer) == (404, "bundle_unknown")
    assert "tiny" in answer.json()["detail"]
    answer = post(files={"file": ("a", b"slide")}, data={"bundle": "nope"})
    assert code_of(answer) == (404, "bundle_unknown")
    assert leftovers(settings) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"path"', b"\xff", b"null", b'{"path": 5}'])
def test_bad_json_is_invalid(post: Post, body: bytes) -> None:
    answer = post(content=body, headers={"Content-Type": "application/json"})
    assert code_of(answer) == (422, "request_invalid")


def test_endless_json_is_cut_off(post: Post) -> None:
    body = b'{"path": "' + b"x" * 70_000
    answer = post(content=body, headers={"Content-Type": "application/json"})
    assert code_of(answer) == (413, "body_too_large")


@pytest.mark.parametrize(
    "options", [{"json": {"path": "/a", "mmp": 0.5}}, {"content": b"s", "params": {"mmp": 0.5}}]
)
def test_a_field_that_we_do_not_know_is_named(post: Post, options: dict[str, Any]) -> None:
    headers = RAW if "content" in options else {}
    answer = post(**options, headers=headers)
    assert code_of(answer) == (422, "request_invalid")
    assert "mmp" in answer.json()["detail"]


def test_options_in_two_places_are_refused(post: Post) -> None:
    answer = post(params={"mpp": 0.5}, files={"file": ("a", b"slide")})
    assert code_of(answer) == (422, "request_invalid")


@pytest.mark.parametrize("mpp", ["nan", "inf", "-inf", "0", "-0.5", "0.049", "20.1", "x", ""])
def test_an_mpp_out_of_range_is_refused_in_every_form(
    post: Post, settings: Settings, mpp: str
) -> None:
    number = mpp.replace("nan", "NaN").replace("inf", "Infinity") or "null,"
    path = settings.allowed_roots[0] / "a.svs"
    path.write_bytes(b"slide")
    text = f'{{"path": "{path}", "mpp": {number}}}'
    answers = [
        post(params={"mpp": mpp}, content=b"slide", headers=RAW),
        post(files={"file": ("a", b"slide")}, data={"mpp": mpp}),
        post(content=text, headers={"Content-Type": "application/json"}),
    ]
    assert [code_of(answer) for answer in answers] == [(422, "request_invalid")] * 3
    assert leftovers(settings) == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/etc/passwd", (403, "path_not_allowed")),
        ("{root}/../data", (403, "path_not_allowed")),
        ("{root}/link", (403, "path_not_allowed")),
        ("{root}/missing.svs", (422, "slide_not_found")),
        ("relative.svs", (422, "request_invalid")),
    ],
)
def test_a_path_that_may_not_or_cannot_be_read_is_refused(
    post: Post, settings: Settings, path: str, code: tuple[int, str]
) -> None:
    root = settings.allowed_roots[0]
    (root / "link").symlink_to("/etc/passwd")
    answer = post(json={"path": path.format(root=root)})
    assert code_of(answer) == code
    assert "passwd" not in answer.text


def test_a_body_over_the_limit_is_refused_by_count(settings: Settings) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    app = create_app(settings.model_copy(update={"max_upload_bytes": 1000}))
    assert code_of(post_to(app, content=body(), headers=RAW)) == (413, "body_too_large")
    form = {"files": {"file": ("a", b"x" * 1001)}}
    assert code_of(post_to(app, **form)) == (413, "body_too_large")
    assert leftovers(settings) == []


def test_a_full_disk_is_507_and_worth_another_try(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"disk_reserve_bytes": 1 << 60}))
    for options in ({"content": b"slide", "headers": RAW}, {"files": {"file": ("a", b"slide")}}):
        answer = post_to(app, **options)
        assert code_of(answer) == (507, "storage_full")
        assert answer.json()["retryable"]
    assert leftovers(settings) == []


def test_silence_in_the_middle_of_an_upload_ends_it(settings: Settings) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(30)

    app = create_app(settings.model_copy(update={"upload_idle_s": 0.1}))
    assert code_of(post_to(app, content=body(), headers=RAW)) == (400, "upload_incomplete")
    assert leftovers(settings) == []


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", f"/v1/jobs/{'0' * 32}", (404, "job_not_found")),
        ("GET", "/v1/jobs/no/such/route", (404, "route_not_found")),
        ("GET", "/v1/jobs/%00", (404, "job_not_found")),
        ("GET", f"/v1/jobs/{'0' * 32}/result", (404, "job_not_found")),
        ("GET", f"/v1/jobs/{'0' * 32}/events", (404, "job_not_found")),
        ("DELETE", f"/v1/jobs/{'0' * 32}", (404, "job_not_found")),
        ("GET", "/v1/bundles/nope", (404, "bundle_unknown")),
        ("GET", "/v1/bundles/..%2Fetc", (404, "route_not_found")),
        ("PATCH", "/predict", (405, "method_not_allowed")),
        ("GET", "/v1/jobs?limit=0", (422, "request_invalid")),
        ("GET", "/v1/jobs?limit=501", (422, "request_invalid")),
        ("GET", "/v1/jobs?cursor=x", (422, "request_invalid")),
        ("GET", "/v1/jobs?cursor=99999999999999999999999", (422, "request_invalid")),
        ("GET", "/v1/jobs?state=lost", (422, "request_invalid")),
    ],
)
def test_what_does_not_exist_is_a_problem(
    talk: Callable[..., Any], method: str, path: str, code: tuple[int, str]
) -> None:
    assert code_of(talk(lambda client: client.request(method, path))) == code


def connect(service: RunningService, head: str) -> socket.socket:
    """A connection on which a POST /predict has begun."""
    connection = socket.create_connection(("127.0.0.1", service.settings.port), timeout=10)
    start = f"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: {RAW['Content-Type']}\r\n"
    connection.sendall(f"{start}{head}\r\n\r\n".encode())
    return connection


def test_a_body_too_large_by_its_length_is_refused_before_it_is_sent(
    service: RunningService,
) -> None:
    with connect(service, f"Content-Length: {1 << 40}") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_client_that_sends_on_still_learns_that_it_is_too_large(service: RunningService) -> None:
    size = service.settings.max_upload_bytes + MIB

    def body() -> Iterator[bytes]:
        for _ in range(size // MIB):
            yield bytes(MIB)

    for headers in ({**RAW, "Content-Length": str(size)}, RAW):
        answer = httpx.post(f"{service.url}/predict", content=body(), headers=headers, timeout=60)
        assert code_of(answer) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("head", "sent"),
    [
        ("Content-Length: 9000000", b"x" * 3_000_000),
        ("Transfer-Encoding: chunked", b"100000\r\n" + b"x" * 0x100000 + b"\r\n100"),
    ],
)
def test_a_connection_cut_in_the_middle_leaves_nothing(
    service: RunningService, head: str, sent: bytes
) -> None:
    with connect(service, head) as connection:
        connection.sendall(sent)
        wait_until(lambda: any(name.endswith(".partial") for name in leftovers(service.settings)))
    wait_until(lambda: not any(n.endswith(".partial") for n in leftovers(service.settings)))
    assert "Traceback" not in service.log


def test_a_text_file_fails_its_job_and_the_next_job_succeeds(
    http: httpx.Client, tmp_path: Path
) -> None:
    headers = {**RAW, "Prefer": "wait=30"}
    job = http.post("/predict", content=b"Dear colleague,", headers=headers).json()
    assert (job["state"], job["error"]["code"]) == ("failed", "slide_unsupported")
    assert job["error"]["hint"]
    assert code_of(http.get(job["links"]["result"])) == (422, "slide_unsupported")
    image = tissue_image(1100, 1100, seed=73, tissue=0.9)
    slide = write_svs(tmp_path / "good.svs", image).read_bytes()
    assert http.post("/predict", content=slide, headers=headers).json()["state"] == "completed"


def test_a_pipe_and_a_whole_root_are_refused(post: Post, settings: Settings) -> None:
    (root,) = settings.allowed_roots
    os.mkfifo(root / "slide.svs")
    answer = post(json={"path": f"{root}/slide.svs"})
    assert code_of(answer) == (422, "slide_unsupported")
    assert code_of(post(json={"path": str(root)})) == (403, "path_not_allowed")


def test_a_query_which_may_name_a_patient_is_not_logged(service: RunningService) -> None:
    httpx.post(f"{service.url}/predict?name=Jansen.svs", content=b"x", headers=RAW)
    httpx.get(f"{service.url}/v1/bundles?after=Jansen")
    wait_until(lambda: "GET /v1/bundles HTTP" in service.log)
    assert "POST /predict HTTP" in service.log
    assert "Jansen" not in service.log
