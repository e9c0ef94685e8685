"""Jobs: what the API does with them: accept, find, list, cancel."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from deepsmile.digest import digest_of
from deepsmile.errors import IdempotencyConflict, JobCanceled, JobFinished, JobNotFound
from deepsmile.store.changes import change_jobs, ended
from deepsmile.store.database import Database
from deepsmile.store.rows import (
    EVENT_COLUMNS,
    JOB_COLUMNS,
    StoredEvent,
    StoredJob,
    event_of,
    find_job,
    job_of,
    record,
    select_jobs,
)
from deepsmile.store.schema import EVENTS, JOBS, REQUESTS
from deepsmile.wire import ANSWERED, ENDED, RUNNING, Fault, JobState

RACES = 3
"""Times that two equal requests may meet before we give up on it."""


@dataclass(frozen=True)
class NewJob:
    """A job to accept."""

    id: str
    source: str
    """ "upload" or "path"."""
    path: str | None
    slide_sha256: str | None
    slide_bytes: int | None
    bundle_name: str
    bundle_digest: str
    mpp: float | None
    fresh: bool
    identity: str
    """What stands for the slide's bytes before they are read: their digest, or the file's marks."""

    @property
    def dedupe_key(self) -> str | None:
        """Equal for requests that one computation can answer; None: it wants its own."""
        return None if self.fresh else digest_of([self.identity, self.bundle_digest, self.mpp])

    @property
    def request_digest(self) -> str:
        """Equal for requests that are the same one sent again."""
        return digest_of([self.identity, self.bundle_name, self.mpp, self.fresh])


@dataclass(frozen=True)
class Accepted:
    """The job that will answer a request."""

    job: StoredJob
    is_new: bool


def submit(database: Database, new: NewJob, now: float, idempotency_key: str | None) -> Accepted:
    """Accept a job, or find the one that answers the same request already.

    When this returns, the job is on the disk.

    Raises:
        IdempotencyConflict: the key came with another request before.
    """
    for _ in range(RACES - 1):
        try:
            return _submit(database, new, now, idempotency_key)
        except IntegrityError:  # PostgreSQL: an equal request came in between; now it is found
            continue
    return _submit(database, new, now, idempotency_key)


def _submit(database: Database, new: NewJob, now: float, idempotency_key: str | None) -> Accepted:
    with database.write() as connection:
        replayed = _replayed(connection, new, idempotency_key)
        if replayed:
            return Accepted(replayed, is_new=False)
        twin = _twin(connection, new)
        job = twin or _insert(connection, new, now)
        if idempotency_key:
            connection.execute(
                insert(REQUESTS).values(
                    idempotency_key=idempotency_key,
                    request_digest=new.request_digest,
                    job_id=job.id,
                    at=now,
                )
            )
        return Accepted(job, is_new=twin is None)


def _replayed(connection: Connection, new: NewJob, idempotency_key: str | None) -> StoredJob | None:
    seen = select(REQUESTS).where(REQUESTS.c.idempotency_key == idempotency_key)
    row = connection.execute(seen).mappings().first() if idempotency_key else None
    if row is None:
        return None
    if row["request_digest"] != new.request_digest:
        raise IdempotencyConflict("this Idempotency-Key came with another request before")
    return find_job(connection, JOBS.c.id == row["job_id"])


def _twin(connection: Connection, new: NewJob) -> StoredJob | None:
    if new.fresh:
        return None
    answered = new.slide_sha256 and find_answered(
        connection, new.slide_sha256, new.bundle_digest, new.mpp
    )
    return answered or find_job(connection, JOBS.c.dedupe_key == new.dedupe_key)


def find_answered(
    connection: Connection, slide_sha256: str, bundle_digest: str, mpp: float | None
) -> StoredJob | None:
    """The newest job that has answered for these bytes, this bundle and this mpp."""
    return find_job(
        connection,
        JOBS.c.slide_sha256 == slide_sha256,
        JOBS.c.bundle_digest == bundle_digest,
        JOBS.c.mpp.is_not_distinct_from(mpp),
        JOBS.c.state.in_(ANSWERED),
    )


def _insert(connection: Connection, new: NewJob, now: float) -> StoredJob:
    accept = insert(JOBS).values(
        id=new.id,
        state=JobState.ACCEPTED,
        created_at=now,
        source=new.source,
        path=new.path,
        slide_sha256=new.slide_sha256,
        slide_bytes=new.slide_bytes,
        bundle_name=new.bundle_name,
        bundle_digest=new.bundle_digest,
        mpp=new.mpp,
        fresh=new.fresh,
        dedupe_key=new.dedupe_key,
    )
    job = job_of(connection.execute(accept.returning(*JOB_COLUMNS)).mappings().one())
    record(connection, job, now)
    return job


def get_job(database: Database, job_id: str) -> StoredJob:
    """Raises JobNotFound."""
    with database.read() as connection:
        job = find_job(connection, JOBS.c.id == job_id)
    if job is None:
        raise JobNotFound(f"no job {job_id!r}")
    return job


def get_report(database: Database, job_id: str) -> str | None:
    """A job's report as JSON."""
    with database.read() as connection:
        report: str | None = connection.scalar(select(JOBS.c.report).where(JOBS.c.id == job_id))
    return report


def list_jobs(
    database: Database, *, limit: int, before: int | None, state: JobState | None
) -> list[StoredJob]:
    """Jobs, newest first, from the one before `before`."""
    wanted = select_jobs().order_by(JOBS.c.seq.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(JOBS.c.seq < before)
    if state is not None:
        wanted = wanted.where(JOBS.c.state == state)
    with database.read() as connection:
        return [job_of(row) for row in connection.execute(wanted).mappings()]


def list_events(database: Database, job_id: str, after: int) -> list[StoredEvent]:
    """A job's events past the one numbered `after`, oldest first."""
    wanted = select(*EVENT_COLUMNS).where(EVENTS.c.job_id == job_id, EVENTS.c.seq > after)
    with database.read() as connection:
        rows = connection.execute(wanted.order_by(EVENTS.c.seq)).mappings()
        return [event_of(row) for row in rows]


def cancel_job(database: Database, job_id: str, now: float) -> StoredJob:
    """Cancel a job that waits, or ask the worker of one that runs; again does no harm.

    The same slide sent again is a job of its own from here on.

    Raises:
        JobNotFound, JobFinished.
    """
    this = JOBS.c.id == job_id
    fault = Fault.of(JobCanceled("canceled before it started"))
    waiting = update(JOBS).where(this, JOBS.c.state == JobState.ACCEPTED)
    cancel = waiting.values(**ended(JobState.CANCELED, fault, now), cancel_requested=True)
    running = update(JOBS).where(this, JOBS.c.state.in_(RUNNING))
    with database.write() as connection:
        if not change_jobs(connection, cancel, now):
            connection.execute(running.values(cancel_requested=True, dedupe_key=None))
    job = get_job(database, job_id)
    if job.state in ENDED and job.state != JobState.CANCELED:
        raise JobFinished(f"the job is {job.state} already")
    return job
