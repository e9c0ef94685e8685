"""Claims: what a worker does with a job, each write fenced by the attempt that it belongs to."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, and_, delete, func, select, update

from deepsmile.errors import JobCanceled
from deepsmile.store.changes import WAITING, change_jobs, ended, is_due
from deepsmile.store.database import Database
from deepsmile.store.jobs import find_answered
from deepsmile.store.rows import JOB_COLUMNS, StoredJob, job_of, record
from deepsmile.store.schema import EVENTS, JOBS
from deepsmile.wire import RUNNING, Fault, JobState

LONGEST_PAUSE_S = 300.0
"""Between two attempts of a job that waits for inference; so soon it goes on after an outage."""


@dataclass(frozen=True)
class Retries:
    """How often and how soon a job is tried again."""

    attempts: int
    pause_s: float
    """Unit of the pauses, which grow with the losses."""


class Standing(Enum):
    """How a worker stands with the job that it claimed."""

    HELD = "held"
    CANCELED = "canceled"
    """Held, but somebody asked to stop."""
    LOST = "lost"
    """Somebody else's by now: write nothing more."""


@dataclass(frozen=True)
class Step:
    """Progress within a stage, in tiles."""

    stage: JobState
    done: int
    total: int
    enters: bool
    """Whether the stage begins here."""


@dataclass(frozen=True)
class Outcome:
    """The end of a job."""

    state: JobState
    fault: Fault | None = None
    report: str | None = None
    """JSON."""
    tiles: int | None = None
    seconds: float | None = None


def claim_next(database: Database, worker: str, now: float, lease_s: float) -> StoredJob | None:
    """Take the job that was accepted first of those that wait; None: nobody waits.

    The doorbell says that somebody waits, never who: a job whose worker was lost, or whose
    message was, goes first again and not behind all that came since. Those that wait for
    inference come after all others, which may need another model or none.
    """
    take = update(JOBS).values(
        state=JobState.FETCHING,
        stage_done=0,
        stage_total=0,
        attempt=JOBS.c.attempt + 1,
        worker=worker,
        lease_until=now + lease_s,
        started_at=now,
        error=None,
    )
    with database.write() as connection:
        # One after the other: ordered by both, every job that waits would be read.
        for which in (JOBS.c.error.is_(None), JOBS.c.error.is_not(None)):
            first = (
                select(JOBS.c.seq)
                .where(is_due(now), which)
                .order_by(JOBS.c.seq)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            job = _write(connection, take.where(JOBS.c.seq == first.scalar_subquery()), now)
            if job is not None:
                return job
    return None


def renew(database: Database, job: StoredJob, now: float, lease_s: float) -> Standing:
    """Keep the lease."""
    keep = update(JOBS).where(_fence(job)).values(lease_until=now + lease_s)
    with database.write() as connection:
        row = connection.execute(keep.returning(JOBS.c.cancel_requested)).first()
    return _standing(row[0] if row else None)


def advance(database: Database, job: StoredJob, step: Step, now: float, lease_s: float) -> Standing:
    """Write down progress, which keeps the lease as well."""
    change = (
        update(JOBS)
        .where(_fence(job))
        .values(
            state=step.stage,
            stage_done=step.done,
            stage_total=step.total,
            lease_until=now + lease_s,
        )
    )
    with database.write() as connection:
        after = _write(connection, change, now, kind="state" if step.enters else "progress")
    return _standing(after.cancel_requested if after else None)


def note_slide(
    database: Database, job: StoredJob, sha256: str, size_bytes: int
) -> StoredJob | None:
    """Write down which bytes the slide has; None: the lease was lost."""
    note = update(JOBS).where(_fence(job)).values(slide_sha256=sha256, slide_bytes=size_bytes)
    with database.write() as connection:
        row = connection.execute(note.returning(*JOB_COLUMNS)).mappings().first()
    return job_of(row) if row else None


def size_is_known(database: Database, size_bytes: int) -> bool:
    """Whether any job had a slide of this size: the bytes of no other can have been seen before."""
    with database.read() as connection:
        seen = select(JOBS.c.seq).where(JOBS.c.slide_bytes == size_bytes).limit(1)
        return connection.execute(seen).first() is not None


def answered_twin(database: Database, job: StoredJob) -> StoredJob | None:
    """A job that has answered for the same bytes, bundle and mpp, unless this one wants its own."""
    if job.fresh or job.slide_sha256 is None:
        return None
    with database.read() as connection:
        return find_answered(connection, job.slide_sha256, job.bundle_digest, job.mpp)


def finish(database: Database, job: StoredJob, outcome: Outcome, now: float) -> bool:
    """End a job: state, result and event at once; False: the lease was lost, nothing is written."""
    end = (
        update(JOBS)
        .where(_fence(job))
        .values(
            **ended(outcome.state, outcome.fault, now),
            report=outcome.report,
            tiles=outcome.tiles,
            seconds=outcome.seconds,
        )
    )
    with database.write() as connection:
        return _write(connection, end, now) is not None


def try_again(
    database: Database, job: StoredJob, fault: Fault, now: float, retries: Retries
) -> bool:
    """Put a job back for a while after an error that may pass; the last attempt ends it."""
    losses = job.losses + 1
    if losses >= retries.attempts:
        return finish(database, job, Outcome(JobState.FAILED, fault), now)
    again = {"losses": losses, "not_before": now + retries.pause_s * losses}
    return _put_back(database, job, again, now)


def wait_for_inference(
    database: Database, job: StoredJob, fault: Fault, now: float, *, pause_s: float, limit_s: float
) -> bool:
    """Put a job back that no server answers, for longer each time; that is no loss.

    While it waits its error says what for. It has failed when it has waited for `limit_s`.
    """
    first = select(func.min(EVENTS.c.at)).where(
        EVENTS.c.job_id == job.id, EVENTS.c.error.is_not(None)
    )
    with database.read() as connection:
        since = connection.scalar(first)
    if now - (now if since is None else since) >= limit_s:
        return finish(database, job, Outcome(JobState.FAILED, fault), now)
    longer_s = pause_s * 2.0 ** min(job.attempt - 1, 20)
    again = {
        "not_before": now + min(longer_s, LONGEST_PAUSE_S),
        "error": fault.model_dump_json(),
    }
    return _put_back(database, job, again, now)


def hand_back(database: Database, worker: str, now: float) -> list[str]:
    """Put back what a stopping worker holds; that is no loss."""
    held = and_(JOBS.c.worker == worker, JOBS.c.state.in_(RUNNING))
    back = update(JOBS).where(held).values(**WAITING)
    with database.write() as connection:
        return [job.id for job in change_jobs(connection, back, now)]


def forfeit(database: Database, worker: str) -> None:
    """End a worker's lease at once: the process that held it is known to be dead."""
    dead = and_(JOBS.c.worker == worker, JOBS.c.state.in_(RUNNING))
    with database.write() as connection:
        connection.execute(update(JOBS).where(dead).values(lease_until=0.0))


def _put_back(database: Database, job: StoredJob, again: dict[str, Any], now: float) -> bool:
    """Let a job wait, or end it if somebody asked to stop meanwhile."""
    held = update(JOBS).where(_fence(job))
    canceled = ended(JobState.CANCELED, Fault.of(JobCanceled("canceled on the way")), now)
    steps = (
        held.where(JOBS.c.cancel_requested).values(**canceled),
        held.values(**WAITING, **again),
    )
    with database.write() as connection:
        return any(_write(connection, step, now) is not None for step in steps)


def _fence(job: StoredJob) -> ColumnElement[bool]:
    """True as long as nobody else has, or ended, the job."""
    return and_(JOBS.c.id == job.id, JOBS.c.attempt == job.attempt, JOBS.c.state.in_(RUNNING))


def _standing(cancel_requested: bool | None) -> Standing:
    if cancel_requested is None:
        return Standing.LOST
    return Standing.CANCELED if cancel_requested else Standing.HELD


def _write(
    connection: Connection, change: Update, now: float, kind: str = "state"
) -> StoredJob | None:
    """Change a job and record it; of its progress only the last stays."""
    row = connection.execute(change.returning(*JOB_COLUMNS)).mappings().first()
    if row is None:
        return None
    job = job_of(row)
    old = delete(EVENTS).where(EVENTS.c.job_id == job.id, EVENTS.c.kind == "progress")
    connection.execute(old)
    record(connection, job, now, kind)
    return job
