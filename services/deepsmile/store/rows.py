"""Rows: jobs and events as they come out of the tables."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, insert, select

from deepsmile.store.schema import EVENTS, JOBS
from deepsmile.wire import Fault, JobState


@dataclass(frozen=True)
class StoredJob:
    """A row of `jobs`, all but its report."""

    seq: int
    id: str
    state: JobState
    stage_done: int
    stage_total: int
    attempt: int
    losses: int
    worker: str | None
    lease_until: float | None
    not_before: float | None
    announced_at: float | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    source: str
    path: str | None
    slide_sha256: str | None
    slide_bytes: int | None
    bundle_name: str
    bundle_digest: str
    mpp: float | None
    fresh: bool
    cancel_requested: bool
    error: Fault | None


@dataclass(frozen=True)
class StoredEvent:
    """A row of `events`."""

    seq: int
    kind: str
    state: JobState
    attempt: int
    done: int
    total: int
    at: float
    error: Fault | None


JOB_COLUMNS = [JOBS.c[name] for name in StoredJob.__dataclass_fields__]
EVENT_COLUMNS = [EVENTS.c[name] for name in StoredEvent.__dataclass_fields__]


def job_of(row: RowMapping) -> StoredJob:
    return StoredJob(**_parsed(row))


def event_of(row: RowMapping) -> StoredEvent:
    return StoredEvent(**_parsed(row))


def select_jobs() -> Select[Any]:
    return select(*JOB_COLUMNS)


def find_job(connection: Connection, *conditions: ColumnElement[bool]) -> StoredJob | None:
    """The newest job that meets the conditions."""
    newest = select_jobs().where(*conditions).order_by(JOBS.c.seq.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    return job_of(row) if row else None


def record(connection: Connection, job: StoredJob, now: float, kind: str = "state") -> None:
    """Write down what a job came to, in the transaction that brought it there."""
    connection.execute(
        insert(EVENTS).values(
            job_id=job.id,
            at=now,
            kind=kind,
            state=job.state,
            attempt=job.attempt,
            done=job.stage_done,
            total=job.stage_total,
            error=job.error.model_dump_json() if job.error else None,
        )
    )


def _parsed(row: RowMapping) -> dict[str, Any]:
    fault = Fault.model_validate_json(row["error"]) if row["error"] else None
    return {**row, "error": fault}
