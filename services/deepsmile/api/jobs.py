"""Jobs: the routes that accept slides, tell how far they are, and hand out results."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from deepsmile import errors
from deepsmile.api.docs import PREDICT_BODY, SSE, json_example, problems
from deepsmile.api.intake import take_in
from deepsmile.api.service import Service, ServiceDep
from deepsmile.api.views import event_view, job_view
from deepsmile.errors import JobNotFinished, RequestError
from deepsmile.report import Report
from deepsmile.store.jobs import (
    Accepted,
    NewJob,
    cancel_job,
    get_job,
    get_report,
    list_events,
    list_jobs,
    submit,
)
from deepsmile.store.rows import StoredJob
from deepsmile.uploads import upload_path
from deepsmile.wire import ANSWERED, ENDED, MAX_WAIT_S, Job, JobPage, JobState, Options

MAX_ID = (1 << 63) - 1
"""Largest number that the store counts to."""
LAST_ID = re.compile(r"[0-9]{1,20}")
POLL_S = 0.1
"""How often a waiting request looks at its job."""
WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:[,;]|$)", re.IGNORECASE)

router = APIRouter()


async def existing(job_id: str, service: ServiceDep) -> StoredJob:
    """The job that a path names; refused before the answer starts when there is none."""
    return await run_sync(get_job, service.database, job_id)


Existing = Annotated[StoredJob, Depends(existing)]


PREDICT: dict[str, Any] = {
    "tags": ["jobs"],
    "status_code": 202,
    "response_model": Job,
    "responses": {
        200: json_example(Job, "Answered already, or within `Prefer: wait`.", "done"),
        202: json_example(Job, "Accepted, and safe from a crash.", "accepted"),
        **problems(
            errors.RequestInvalid,
            errors.SlideEmpty,
            errors.SlideNotFound,
            errors.SlideUnsupported,
            errors.ContentTypeUnsupported,
            errors.BodyTooLarge,
            errors.UploadIncomplete,
            errors.PathNotAllowed,
            errors.BundleUnknown,
            errors.IdempotencyConflict,
            errors.StoreUnavailable,
            errors.StorageFull,
        ),
    },
    "openapi_extra": PREDICT_BODY,
}


@router.post("/predict", operation_id="predict", summary="Score a slide", **PREDICT)
@router.post("/v1/jobs", operation_id="createJob", summary="Score a slide", **PREDICT)
async def predict(
    request: Request,
    service: ServiceDep,
    options: Annotated[Options, Query()],
    prefer: Annotated[str, Header(examples=["wait=30"])] = "",
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")
    ] = None,
) -> Response:
    """Send a slide as the body, as the field `file` of a form, or name its path in JSON.

    The same bytes with the same bundle and mpp are not computed twice unless `fresh` is set:
    the answer is 200 with the job that has, or will have, the result. `Prefer: wait=30` waits
    that long (60 s at most) for the result. The same `Idempotency-Key` gives the same job.
    """
    new = await take_in(request, service, options)
    accepted = await _submit(service, new, idempotency_key)
    if accepted.is_new:
        service.news.set()
    job, waited = accepted.job, _wait_s(prefer)
    if waited is not None:
        job = await _ended(service, job, min(waited, MAX_WAIT_S))
    answered = waited is not None and job.state in ENDED
    report = await run_sync(get_report, service.database, job.id) if answered else None
    headers = {"Location": f"/v1/jobs/{job.id}"}
    if waited is not None:
        headers["Preference-Applied"] = "wait"
    status = 200 if answered or not accepted.is_new else 202
    return JSONResponse(job_view(job, report).model_dump(mode="json"), status, headers)


@router.get(
    "/v1/jobs",
    operation_id="listJobs",
    tags=["jobs"],
    summary="List jobs, newest first",
    responses={
        200: json_example(JobPage, "A page.", "page"),
        **problems(errors.RequestInvalid, errors.StoreUnavailable),
    },
)
async def jobs(
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[
        int | None, Query(ge=1, le=MAX_ID, description="`next` of the page before.")
    ] = None,
    state: JobState | None = None,
) -> JobPage:
    """Follow `next` until it is null."""
    found = await run_sync(
        lambda: list_jobs(service.database, limit=limit + 1, before=cursor, state=state)
    )
    page = found[:limit]
    more = len(found) > limit
    return JobPage(jobs=tuple(map(job_view, page)), next=str(page[-1].seq) if more else None)


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="getJob",
    tags=["jobs"],
    summary="How far a job is",
    response_model=Job,
    responses={
        200: json_example(Job, "The job.", "running"),
        304: {"description": "Nothing changed since the `ETag` in `If-None-Match`."},
        **problems(errors.JobNotFound, errors.RequestInvalid, errors.StoreUnavailable),
    },
)
async def job(
    job: Existing,
    service: ServiceDep,
    result: Annotated[bool, Query(description="Bring the report along, if there is one.")] = False,
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """States go accepted, fetching, qc, tiling, encoding, aggregating, storing, and then end
    as completed, rejected (no score, with a reason), failed or canceled."""
    report = await run_sync(get_report, service.database, job.id) if result else None
    body = job_view(job, report).model_dump_json().encode()
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    if tag in if_none_match:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, media_type="application/json", headers={"ETag": tag})


@router.get(
    "/v1/jobs/{job_id}/result",
    operation_id="getResult",
    tags=["jobs"],
    summary="The report",
    response_model=Report,
    responses={
        200: json_example(Report, "A score, or the reason why there is none.", "report"),
        **problems(
            errors.JobNotFound,
            errors.JobNotFinished,
            errors.JobCanceled,
            errors.SlideCorrupt,
            errors.InternalError,
            errors.StoreUnavailable,
        ),
    },
)
async def result(job: Existing, service: ServiceDep) -> Response:
    """A job that failed or was canceled has its error here."""
    if job.state in ANSWERED:
        report = await run_sync(get_report, service.database, job.id)
        return Response(report, media_type="application/json")
    if job.error is not None and job.state in ENDED:
        raise job.error.error()
    raise JobNotFinished(f"the job is {job.state}")


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="followJob",
    tags=["jobs"],
    summary="Progress as server-sent events",
    response_class=EventSourceResponse,
    responses={
        200: SSE,
        **problems(errors.JobNotFound, errors.RequestInvalid, errors.StoreUnavailable),
    },
)
async def events(
    job: Existing, service: ServiceDep, last_event_id: Annotated[str, Header()] = ""
) -> AsyncIterator[ServerSentEvent]:
    """Events `state` and `progress`, from the first or from `Last-Event-ID` on, until the end.

    Every event's data is a JobEvent; after the one whose state is an end the stream closes.
    """
    last = min(int(last_event_id), MAX_ID) if LAST_ID.fullmatch(last_event_id) else 0
    state = job.state
    while True:
        for event in await run_sync(list_events, service.database, job.id, last):
            last, state = event.seq, event.state
            yield ServerSentEvent(event=event.kind, id=str(last), data=event_view(event))
        if state in ENDED:
            return
        await asyncio.sleep(POLL_S)


@router.delete(
    "/v1/jobs/{job_id}",
    operation_id="cancelJob",
    tags=["jobs"],
    summary="Cancel a job",
    response_model=Job,
    responses={
        200: json_example(Job, "Canceled.", "canceled"),
        202: json_example(Job, "Its worker will stop within seconds.", "running"),
        **problems(errors.JobNotFound, errors.JobFinished, errors.StoreUnavailable),
    },
)
async def cancel(job_id: str, service: ServiceDep) -> Response:
    """Again does no harm; a job that has ended otherwise stays as it is (409)."""
    job = await run_sync(cancel_job, service.database, job_id, time.time())
    status = 200 if job.state in ENDED else 202
    return JSONResponse(job_view(job).model_dump(mode="json"), status)


async def _submit(service: Service, new: NewJob, idempotency_key: str | None) -> Accepted:
    """Accept the job; an upload that it turns out not to need is deleted.

    After a failure of the store it stays: the job may have been written. The sweeper decides.
    """
    upload = upload_path(service.settings.uploads, new.id)
    try:
        accepted = await run_sync(submit, service.database, new, time.time(), idempotency_key)
    except RequestError:
        upload.unlink(missing_ok=True)
        raise
    if not accepted.is_new:
        upload.unlink(missing_ok=True)
    return accepted


async def _ended(service: Service, job: StoredJob, wait_s: float) -> StoredJob:
    """The job at its end, or as it is after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while job.state not in ENDED and time.monotonic() < deadline:
        await asyncio.sleep(min(POLL_S, wait_s))
        job = await run_sync(get_job, service.database, job.id)
    return job


def _wait_s(prefer: str) -> int | None:
    """RFC 7240: what cannot be read is ignored."""
    found = WAIT.search(prefer)
    return int(found.group(1)) if found else None
