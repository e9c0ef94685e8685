"""Health: whether the process lives, whether jobs are accepted and started, and figures."""

import asyncio
from collections.abc import Callable

from anyio.to_thread import run_sync
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from deepsmile import __version__, errors
from deepsmile.api.docs import json_example, problems
from deepsmile.api.service import ServiceDep
from deepsmile.errors import DeepSmileError
from deepsmile.wire import Alive, Part, Readiness

PATIENCE_S = 2.0
"""A part that does not answer by then is not ok."""

router = APIRouter(tags=["health"])


@router.get(
    "/healthz",
    operation_id="getHealth",
    summary="Whether the process lives",
    responses={200: json_example(Alive, "It does.", "alive"), **problems()},
)
async def healthz(service: ServiceDep) -> Alive:
    """Asks nothing else, so that a slow database restarts no process."""
    limit = service.settings.max_upload_bytes
    return Alive(status="alive", version=__version__, max_upload_bytes=limit)


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Whether jobs are accepted",
    response_model=Readiness,
    responses={
        200: json_example(Readiness, "Ready, or degraded.", "ready"),
        503: json_example(Readiness, "Down: jobs are refused.", "down"),
        **problems(),
    },
)
async def readyz(service: ServiceDep, response: Response) -> Readiness:
    """Without the broker jobs are accepted and kept, and start when it is back: degraded."""
    default = service.settings.default_bundle
    database, bundle, broker = await asyncio.gather(
        _check(service.database.ping),
        _check(lambda: service.shelf.get(default)),
        _check(service.doorbell.count),
    )
    parts = {"database": database, "bundle": bundle, "broker": broker}
    if not (database.ok and bundle.ok):
        response.status_code = 503
        return Readiness(status="down", parts=parts)
    return Readiness(status="ready" if broker.ok else "degraded", parts=parts)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "Jobs by state, age of the oldest, tiles, seconds, requests.",
            "content": {
                "text/plain": {
                    "schema": {"type": "string"},
                    "example": 'deepsmile_jobs{state="completed"} 12.0',
                }
            },
        },
        **problems(errors.StoreUnavailable),
    },
)
async def metrics(service: ServiceDep) -> Response:
    """Prometheus' text format."""
    return Response(await run_sync(service.metrics.text), media_type=CONTENT_TYPE_LATEST)


async def _check(question: Callable[[], object]) -> Part:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await run_sync(question, abandon_on_cancel=True)
    except TimeoutError:
        return Part(ok=False, detail=f"no answer within {PATIENCE_S:g} s")
    except DeepSmileError as error:
        return Part(ok=False, detail=error.detail)
    return Part(ok=True, detail="ok")
