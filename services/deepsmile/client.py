"""Client: the service from Python, `Client` and, with the same methods to await, `AsyncClient`.

    with Client("http://127.0.0.1:8000") as client:
        job = client.predict(Path("slide.svs"))
        print(client.wait(job.id).result)

Whatever goes wrong is raised as the `DeepSmileError` that the service meant.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Self

import httpx

from deepsmile.calls import (
    HEALTH,
    PAUSES_S,
    Call,
    Following,
    Model,
    OnEvent,
    OnUpload,
    SlideBody,
    job_call,
    page_call,
    path_call,
    read,
    unanswered,
    upload_call,
)
from deepsmile.errors import DeepSmileError
from deepsmile.report import Report
from deepsmile.wire import (
    Alive,
    BundleDetail,
    BundleList,
    BundleSummary,
    Job,
    JobPage,
    JobState,
    Options,
    PathRequest,
)


class Client:
    """Talks to one service; close it, or use it as a context."""

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(base_url=url, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self,
        slide: Path | IO[bytes],
        *,
        bundle: str | None = None,
        mpp: float | None = None,
        fresh: bool = False,
        wait_s: int = 0,
        idempotency_key: str | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """Upload a slide; its job comes with the result if it ends within `wait_s`.

        Raises:
            DeepSmileError: what the service answered, or ServiceUnreachable.
        """
        body = SlideBody(slide, on_upload)
        if body.is_large:
            self._check(body)
        options = Options(bundle=bundle, mpp=mpp, fresh=fresh)
        return self._ask(upload_call(options, body.size, idempotency_key, wait_s), Job, body)

    def predict_path(
        self,
        path: str,
        *,
        bundle: str | None = None,
        mpp: float | None = None,
        fresh: bool = False,
        wait_s: int = 0,
        idempotency_key: str | None = None,
    ) -> Job:
        """Score a slide that the service can reach; as `predict`."""
        request = PathRequest(path=path, bundle=bundle, mpp=mpp, fresh=fresh)
        return self._ask(path_call(request, idempotency_key, wait_s), Job)

    def job(self, job_id: str, *, result: bool = False) -> Job:
        """How far a job is; with its report, if there is one and it is asked for."""
        return self._ask(job_call(job_id, result), Job)

    def jobs(self, state: JobState | None = None) -> Iterator[Job]:
        """All jobs, newest first."""
        cursor: str | None = ""
        while cursor is not None:
            page = self._ask(page_call(state, cursor), JobPage)
            yield from page.jobs
            cursor = page.next

    def wait(
        self, job_id: str, *, on_event: OnEvent | None = None, timeout_s: float | None = None
    ) -> Job:
        """The job at its end, with its report if there is one.

        Raises:
            JobNotFinished: it took longer than `timeout_s`.
            DeepSmileError: what the service answered, or ServiceUnreachable for a minute.
        """
        following = Following(job_id, on_event, timeout_s)
        while True:
            with contextlib.suppress(httpx.TransportError):
                self._follow(following)
            try:
                job = self.job(job_id, result=True)
                if following.check(job):
                    return job
            except DeepSmileError as error:
                following.bear(error)
            time.sleep(following.pause_s)

    def result(self, job_id: str) -> Report:
        """The report of a job that has one; the error of a job that has none."""
        return self._ask(Call("GET", f"/v1/jobs/{job_id}/result"), Report)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that is at work stops within seconds."""
        return self._ask(Call("DELETE", f"/v1/jobs/{job_id}"), Job)

    def bundles(self) -> tuple[BundleSummary, ...]:
        """The models."""
        return self._ask(Call("GET", "/v1/bundles"), BundleList).bundles

    def bundle(self, name: str) -> BundleDetail:
        """One model, with its contract and card."""
        return self._ask(Call("GET", f"/v1/bundles/{name}"), BundleDetail)

    def _check(self, body: SlideBody) -> None:
        """Whether the service takes so much; a gateway may keep us from asking."""
        try:
            alive = self._ask(HEALTH, Alive)
        except DeepSmileError:
            return
        body.check(alive)

    def _ask(self, call: Call, model: type[Model], body: SlideBody | None = None) -> Model:
        for pause_s in PAUSES_S:
            try:
                request = call.build(self._http, body.blocks() if body else None)
                return read(self._http.send(request), model)
            except httpx.TransportError as error:
                if pause_s is None:
                    raise unanswered(error) from error
                time.sleep(pause_s)
        raise AssertionError("the last pause is None")

    def _follow(self, following: Following) -> None:
        with self._http.stream(
            "GET", following.path, headers=following.headers, timeout=following.timeout
        ) as response:
            if response.is_success:
                for line in response.iter_lines():
                    if not following.take(line):
                        return


class AsyncClient:
    """`Client` with `await`; what it promises is written there."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(base_url=url, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(
        self,
        slide: Path | IO[bytes],
        *,
        bundle: str | None = None,
        mpp: float | None = None,
        fresh: bool = False,
        wait_s: int = 0,
        idempotency_key: str | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """Upload a slide."""
        body = SlideBody(slide, on_upload)
        if body.is_large:
            await self._check(body)
        options = Options(bundle=bundle, mpp=mpp, fresh=fresh)
        return await self._ask(upload_call(options, body.size, idempotency_key, wait_s), Job, body)

    async def predict_path(
        self,
        path: str,
        *,
        bundle: str | None = None,
        mpp: float | None = None,
        fresh: bool = False,
        wait_s: int = 0,
        idempotency_key: str | None = None,
    ) -> Job:
        """Score a slide that the service can reach."""
        request = PathRequest(path=path, bundle=bundle, mpp=mpp, fresh=fresh)
        return await self._ask(path_call(request, idempotency_key, wait_s), Job)

    async def job(self, job_id: str, *, result: bool = False) -> Job:
        """How far a job is."""
        return await self._ask(job_call(job_id, result), Job)

    async def jobs(self, state: JobState | None = None) -> AsyncIterator[Job]:
        """All jobs, newest first."""
        cursor: str | None = ""
        while cursor is not None:
            page = await self._ask(page_call(state, cursor), JobPage)
            for job in page.jobs:
                yield job
            cursor = page.next

    async def wait(
        self, job_id: str, *, on_event: OnEvent | None = None, timeout_s: float | None = None
    ) -> Job:
        """The job at its end."""
        following = Following(job_id, on_event, timeout_s)
        while True:
            with contextlib.suppress(httpx.TransportError):
                await self._follow(following)
            try:
                job = await self.job(job_id, result=True)
                if following.check(job):
                    return job
            except DeepSmileError as error:
                following.bear(error)
            await asyncio.sleep(following.pause_s)

    async def result(self, job_id: str) -> Report:
        """The report of a job that has one."""
        return await self._ask(Call("GET", f"/v1/jobs/{job_id}/result"), Report)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job."""
        return await self._ask(Call("DELETE", f"/v1/jobs/{job_id}"), Job)

    async def bundles(self) -> tuple[BundleSummary, ...]:
        """The models."""
        return (await self._ask(Call("GET", "/v1/bundles"), BundleList)).bundles

    async def bundle(self, name: str) -> BundleDetail:
        """One model."""
        return await self._ask(Call("GET", f"/v1/bundles/{name}"), BundleDetail)

    async def _check(self, body: SlideBody) -> None:
        try:
            alive = await self._ask(HEALTH, Alive)
        except DeepSmileError:
            return
        body.check(alive)

    async def _ask(self, call: Call, model: type[Model], body: SlideBody | None = None) -> Model:
        for pause_s in PAUSES_S:
            try:
                request = call.build(self._http, body.blocks_async() if body else None)
                return read(await self._http.send(request), model)
            except httpx.TransportError as error:
                if pause_s is None:
                    raise unanswered(error) from error
                await asyncio.sleep(pause_s)
        raise AssertionError("the last pause is None")

    async def _follow(self, following: Following) -> None:
        async with self._http.stream(
            "GET", following.path, headers=following.headers, timeout=following.timeout
        ) as response:
            if response.is_success:
                async for line in response.aiter_lines():
                    if not following.take(line):
                        return
