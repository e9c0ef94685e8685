"""Service: everything a request may need, made once for the app and kept on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, Request

from deepsmile.api.metrics import Metrics
from deepsmile.doorbell import Doorbell, make_celery
from deepsmile.settings import Settings
from deepsmile.shelf import Shelf
from deepsmile.store.database import Database
from deepsmile.sweeper import Sweeper


@dataclass
class Service:
    """The parts; none of them connects to anything before it is used."""

    settings: Settings
    database: Database
    doorbell: Doorbell
    sweeper: Sweeper
    shelf: Shelf
    metrics: Metrics
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a job was accepted: the doorbell should ring."""
    is_stopping: bool = False


def make_service(settings: Settings) -> Service:
    """Put the parts together."""
    database, doorbell = Database(settings.database), Doorbell(make_celery(settings))
    return Service(
        settings=settings,
        database=database,
        doorbell=doorbell,
        sweeper=Sweeper(database, doorbell, settings),
        shelf=Shelf(settings.model_repository),
        metrics=Metrics(database),
    )


def of_request(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(of_request)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Tables first, then a sweeper for as long as the app runs."""
    service: Service = app.state.service
    await run_sync(service.database.create)
    sweeping = asyncio.create_task(_sweep(service))
    try:
        yield
    finally:
        service.is_stopping = True
        service.news.set()
        await sweeping
        service.doorbell.close()
        service.database.close()


async def _sweep(service: Service) -> None:
    """Sweep every `sweep_s`; in between, ring for new jobs as they come."""
    loop = asyncio.get_running_loop()
    while not service.is_stopping:
        await run_sync(service.sweeper.sweep)
        next_sweep = loop.time() + service.settings.sweep_s
        while await _news_before(service, next_sweep) and not service.is_stopping:
            await run_sync(service.sweeper.announce)


async def _news_before(service: Service, deadline: float) -> bool:
    try:
        async with asyncio.timeout_at(deadline):
            await service.news.wait()
    except TimeoutError:
        return False
    service.news.clear()
    return True
