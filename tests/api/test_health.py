"""Health: what is down is named, and a dead broker refuses no job."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from deepsmile.api.app import create_app
from deepsmile.settings import Settings
from tests.api.conftest import RAW, converse
from tests.service import RunningService


def test_a_process_that_lives_says_so(http: httpx.Client) -> None:
    assert http.get("/healthz").json()["status"] == "alive"


def test_a_whole_service_is_ready(http: httpx.Client) -> None:
    answer = http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert all(part["ok"] for part in answer.json()["parts"].values())


def test_without_a_broker_it_is_degraded_and_accepts_jobs(talk: Callable[..., Any]) -> None:
    async def go(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        ready = await client.get("/readyz")
        return ready, await client.post("/predict", content=b"slide", headers=RAW)

    ready, accepted = talk(go)
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert not ready.json()["parts"]["broker"]["ok"]
    assert ready.json()["parts"]["database"]["ok"]
    assert accepted.status_code == 202


def test_without_the_default_bundle_it_is_down(settings: Settings, tmp_path: Path) -> None:
    empty = settings.model_copy(update={"model_repository": tmp_path})
    answer = converse(create_app(empty), lambda client: client.get("/readyz"))
    assert (answer.status_code, answer.json()["status"]) == (503, "down")
    assert not answer.json()["parts"]["bundle"]["ok"]


def test_without_the_database_it_is_down_but_alive(settings: Settings) -> None:
    app = create_app(settings)

    async def go(client: httpx.AsyncClient) -> list[httpx.Response]:
        app.state.service.database.close()
        for path in settings.data_dir.glob("deepsmile.sqlite*"):
            path.unlink()
        (settings.data_dir / "deepsmile.sqlite").mkdir()
        return [
            await client.get("/readyz"),
            await client.get("/healthz"),
            await client.post("/predict", content=b"slide", headers=RAW),
        ]

    ready, alive, refused = converse(app, go)
    assert (ready.status_code, ready.json()["status"]) == (503, "down")
    assert alive.status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    assert refused.json()["retryable"]


def test_figures_count_jobs_and_requests_by_template(http: httpx.Client) -> None:
    def figure(text: str, name: str) -> float:
        return float(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])

    name = 'deepsmile_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}'
    http.get(f"/v1/jobs/{'1' * 32}")
    before = http.get("/metrics")
    http.get(f"/v1/jobs/{'2' * 32}")
    after = http.get("/metrics")
    assert before.headers["content-type"].startswith("text/plain")
    assert figure(after.text, name) == figure(before.text, name) + 1
    assert "1" * 32 not in after.text
    assert figure(after.text, 'deepsmile_jobs{state="failed"}') >= 0
    assert figure(after.text, "deepsmile_tiles_total") >= 0


def test_a_job_that_waits_shows_its_age(talk: Callable[..., Any]) -> None:
    async def go(client: httpx.AsyncClient) -> str:
        await client.post("/predict", content=b"slide", headers=RAW)
        return (await client.get("/metrics")).text

    lines = talk(go).splitlines()
    assert 'deepsmile_jobs{state="accepted"} 1.0' in lines
    age = next(line for line in lines if line.startswith("deepsmile_oldest_waiting_seconds"))
    assert 0 < float(age.split()[1]) < 60


def test_models_are_listed_with_their_warning(http: httpx.Client, service: RunningService) -> None:
    (bundle,) = http.get("/v1/bundles").json()["bundles"]
    assert (bundle["name"], bundle["default"], bundle["heads"]) == ("tiny", True, ["redness"])
    assert bundle["notice"] == "Test bundle, no meaning."
    detail = http.get("/v1/bundles/tiny").json()
    assert detail.items() >= bundle.items()
    assert detail["contract"]["features"]["tile"]["size_um"] == 256.0
    assert detail["card"].startswith("# Tiny test bundle")


def test_a_card_is_read_by_people(http: httpx.Client) -> None:
    """Lines, not one string of JSON; what names the bundle's other answer names this one."""
    answer = http.get("/v1/bundles/tiny/card")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text == http.get("/v1/bundles/tiny").json()["card"]
    absent = http.get("/v1/bundles/absent/card")
    assert (absent.status_code, absent.json()["code"]) == (404, "bundle_unknown")
    about = http.get("/openapi.json").json()["paths"]["/v1/bundles/{name}"]["get"]["description"]
    assert "GET /v1/bundles/{name}/card" in about


def test_a_bundle_that_is_half_written_is_left_out_and_named_in_the_log(
    settings: Settings, repository: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = Path(shutil.copytree(repository, tmp_path / "copied"))
    whole = (copied / "tiny.bundle.json").read_bytes()
    (copied / "half.bundle.json").write_bytes(whole[: len(whole) // 2])
    app = create_app(settings.model_copy(update={"model_repository": copied}))
    answer = converse(app, lambda client: client.get("/v1/bundles"))
    assert [bundle["name"] for bundle in answer.json()["bundles"]] == ["tiny"]
    assert "bundle half is left out: bundle_corrupt" in caplog.text


def test_the_limit_of_a_slide_is_told(http: httpx.Client, service: RunningService) -> None:
    assert http.get("/healthz").json()["max_upload_bytes"] == service.settings.max_upload_bytes
