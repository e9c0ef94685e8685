"""POST /predict: one job for one question, whichever way the slide comes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deepsmile.report import Report, differences
from deepsmile.settings import Settings
from tests.api.conftest import RAW
from tests.making import tissue_image, write_svs
from tests.service import RunningService, wait_until

WAIT = {"Prefer": "wait=30"}
HEX = "0123456789abcdef"


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A slide that no other test sends."""
    image = tissue_image(1100, 1100, seed=71, tissue=0.9)
    return write_svs(tmp_path_factory.mktemp("predict") / "slide.svs", image).read_bytes()


def test_body_form_and_path_give_the_same_scores(
    http: httpx.Client, service: RunningService, slide: bytes
) -> None:
    (service.slides / "JANE_DOE.svs").write_bytes(slide)
    fresh = {"fresh": "true"}
    answers = [
        http.post("/predict", params=fresh, content=slide, headers={**RAW, **WAIT}),
        http.post("/predict", files={"file": ("JANE.svs", slide)}, data=fresh, headers=WAIT),
        http.post(
            "/v1/jobs",
            json={"path": f"{service.slides}/JANE_DOE.svs", "fresh": True},
            headers=WAIT,
        ),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    reports = [Report.model_validate(answer.json()["result"]) for answer in answers]
    assert len({report.run.job_id for report in reports}) == 3
    assert differences(reports[0], reports[1]) == differences(reports[0], reports[2]) == []
    assert [answer.json()["slide"]["source"] for answer in answers] == ["upload", "upload", "path"]


def test_no_name_of_a_sender_is_kept_or_logged(
    http: httpx.Client, service: RunningService, slide: bytes
) -> None:
    job = http.post("/predict", files={"file": ("NAME-CANARY.svs", slide)}, headers=WAIT).json()
    (service.slides / "PATH-CANARY.svs").write_bytes(slide)
    http.post("/predict", json={"path": f"{service.slides}/PATH-CANARY.svs"}, headers=WAIT)
    http.post("/predict", json={"path": "/elsewhere/PATH-CANARY.svs"})
    assert "CANARY" not in service.log
    assert "CANARY" not in str(job) + http.get("/v1/jobs").text + http.get("/metrics").text
    stored = b"".join(p.read_bytes() for p in service.settings.data_dir.glob("valkey/**/*.aof"))
    assert b"CANARY" not in stored
    names = [p.name for p in service.settings.uploads.iterdir()]
    assert all(set(name.removesuffix(".slide")) <= set(HEX) for name in names)


def test_the_answer_is_202_with_a_location(talk: Callable[..., Any]) -> None:
    async def go(client: httpx.AsyncClient) -> None:
        answer = await client.post("/predict", content=b"slide", headers=RAW)
        job = answer.json()
        assert answer.status_code == 202
        assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
        assert (job["state"], job["attempt"], job["result"]) == ("accepted", 0, None)
        assert job["slide"]["bytes"] == 5
        assert (await client.get(answer.headers["location"])).json() == job

    talk(go)


def test_an_upload_is_on_the_disk_when_its_job_is_accepted(
    talk: Callable[..., Any], settings: Settings
) -> None:
    async def go(client: httpx.AsyncClient) -> str:
        answer = await client.post("/predict", content=b"slide", headers=RAW)
        job_id: str = answer.json()["id"]
        return job_id

    job_id = talk(go)
    assert [p.name for p in settings.uploads.iterdir()] == [f"{job_id}.slide"]
    assert (settings.uploads / f"{job_id}.slide").read_bytes() == b"slide"


def test_the_same_bytes_join_the_job_and_leave_no_second_file(
    talk: Callable[..., Any], settings: Settings
) -> None:
    async def go(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.post("/predict", content=b"slide", headers=RAW),
            await client.post("/predict", content=b"slide", headers=RAW),
            await client.post("/predict", content=b"slide", headers=RAW, params={"mpp": 0.5}),
            await client.post("/predict", content=b"slide", headers=RAW, params={"fresh": 1}),
        ]

    first, second, other, fresh = talk(go)
    assert [answer.status_code for answer in (first, second, other, fresh)] == [202, 200, 202, 202]
    assert second.headers["location"] == first.headers["location"]
    assert len({answer.json()["id"] for answer in (first, other, fresh)}) == 3
    assert len(list(settings.uploads.iterdir())) == 3


def test_the_same_path_joins_the_job_until_the_file_changes(
    talk: Callable[..., Any], settings: Settings
) -> None:
    slide = settings.allowed_roots[0] / "slide.svs"
    slide.write_bytes(b"slide")

    async def go(client: httpx.AsyncClient) -> list[int]:
        body = {"path": str(slide)}
        codes = [(await client.post("/predict", json=body)).status_code for _ in range(2)]
        slide.write_bytes(b"another")
        return [*codes, (await client.post("/predict", json=body)).status_code]

    assert talk(go) == [202, 200, 202]


def test_a_slide_scored_by_path_is_known_when_it_is_uploaded(
    http: httpx.Client, service: RunningService, tmp_path: Path
) -> None:
    image = tissue_image(1100, 1100, seed=72, tissue=0.9)
    path = write_svs(service.slides / f"{uuid4().hex}.svs", image)
    by_path = http.post("/predict", json={"path": str(path)}, headers=WAIT).json()
    uploaded = http.post("/predict", content=path.read_bytes(), headers=RAW)
    assert uploaded.status_code == 200
    assert uploaded.json()["id"] == by_path["id"]


def test_a_key_gives_the_same_job_and_conflicts_with_another_request(
    talk: Callable[..., Any], settings: Settings
) -> None:
    async def go(client: httpx.AsyncClient) -> list[httpx.Response]:
        async def post(content: bytes, key: str, **params: Any) -> httpx.Response:
            headers = {**RAW, "Idempotency-Key": key}
            return await client.post("/predict", content=content, headers=headers, params=params)

        return [
            await post(b"slide", "one", fresh=1),
            await post(b"slide", "one", fresh=1),
            await post(b"slide", "two", fresh=1),
            await post(b"other", "one", fresh=1),
            await post(b"slide", "one"),
        ]

    first, replay, second, other, changed = talk(go)
    assert [r.status_code for r in (first, replay, second, other, changed)] == [
        202,
        200,
        202,
        409,
        409,
    ]
    assert replay.json()["id"] == first.json()["id"] != second.json()["id"]
    assert other.json()["code"] == "idempotency_conflict"
    assert len(list(settings.uploads.iterdir())) == 2


@pytest.mark.parametrize("key", ["", "a b", "ü", "x" * 256])
def test_a_key_that_is_no_key_is_refused(talk: Callable[..., Any], key: str) -> None:
    async def go(client: httpx.AsyncClient) -> httpx.Response:
        headers = [*RAW.items(), ("Idempotency-Key", key.encode("latin-1"))]
        return await client.post("/predict", content=b"slide", headers=headers)

    answer = talk(go)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_waiting_answers_with_the_result_when_it_is_ready(http: httpx.Client, slide: bytes) -> None:
    answer = http.post("/predict", params={"mpp": 0.6}, content=slide, headers={**RAW, **WAIT})
    job = answer.json()
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait")
    assert (job["state"], job["result"]["run"]["job_id"]) == ("completed", job["id"])
    assert job["result"] == http.get(job["links"]["result"]).json()


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [("wait=0", "wait"), ("respond-async, wait=1", "wait"), ("wait=soon", None), ("", None)],
)
def test_waiting_in_vain_is_202(talk: Callable[..., Any], prefer: str, applied: str | None) -> None:
    async def go(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/predict", content=b"s", headers={**RAW, "Prefer": prefer})

    answer = talk(go)
    assert answer.status_code == 202
    assert answer.headers.get("preference-applied") == applied


def test_a_job_is_accepted_within_a_second_without_a_broker(talk: Callable[..., Any]) -> None:
    async def go(client: httpx.AsyncClient) -> httpx.Response:
        await client.post("/predict", content=b"first", headers=RAW)
        return await client.post("/predict", content=b"second", headers=RAW)

    answer = talk(go)
    assert answer.status_code == 202
    assert answer.elapsed.total_seconds() < 1


def test_a_rejected_slide_has_a_report_and_a_reason(http: httpx.Client, tmp_path: Path) -> None:
    glass = write_svs(tmp_path / "glass.svs", tissue_image(900, 900, tissue=0)).read_bytes()
    job = http.post("/predict", content=glass, headers={**RAW, **WAIT}).json()
    assert (job["state"], job["error"]["code"]) == ("rejected", "too_little_tissue")
    assert job["result"]["heads"][0]["reason"]["code"] == "too_little_tissue"
    assert http.get(job["links"]["result"]).status_code == 200


def test_uploads_of_one_slide_at_once_are_one_job(service: RunningService, slide: bytes) -> None:
    def post(_: int) -> str:
        answer = httpx.post(
            f"{service.url}/predict", params={"mpp": 0.55}, content=slide, headers=RAW, timeout=60
        )
        job_id: str = answer.json()["id"]
        return job_id

    with ThreadPoolExecutor(8) as pool:
        job_ids = set(pool.map(post, range(8)))
    assert len(job_ids) == 1
    url = f"{service.url}/v1/jobs/{job_ids.pop()}"
    wait_until(lambda: httpx.get(url).json()["state"] == "completed")
