"""Fixtures of the API's tests: a client of the running service, and an app without a worker."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from deepsmile.api.app import create_app
from deepsmile.settings import Settings
from tests.service import RunningService

Talk = Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]
RAW = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def http(service: RunningService) -> Iterator[httpx.Client]:
    """Talks to the running service."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


@pytest.fixture
def settings(tmp_path: Path, repository: Path) -> Settings:
    """For an app in this process; its broker is never there."""
    (tmp_path / "root").mkdir()
    return Settings(
        data_dir=tmp_path / "data",
        model_repository=repository,
        default_bundle="tiny",
        broker_url="redis://127.0.0.1:1/0",
        allowed_roots=(tmp_path / "root",),
        disk_reserve_bytes=0,
    )


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """Accepts jobs that no worker will ever do."""
    return create_app(settings)


@pytest.fixture
def talk(app: FastAPI) -> Callable[[Talk], Any]:
    """Runs a conversation with that app."""
    return partial(converse, app)


@pytest.fixture
def post(app: FastAPI) -> Callable[..., httpx.Response]:
    """Sends one POST /predict to that app."""
    return partial(post_to, app)


def converse(app: FastAPI, conversation: Talk) -> Any:
    """Run an app and talk to it."""

    async def go() -> Any:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await conversation(client)

    return asyncio.run(go())


def post_to(app: FastAPI, **options: Any) -> httpx.Response:
    """Run an app for one POST /predict."""
    answer: httpx.Response = converse(app, lambda client: client.post("/predict", **options))
    return answer
