"""Upkeep: what the sweeper does: expired leases, the outbox of the doorbell, and totals."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from sqlalchemy import ColumnElement, and_, func, select, update

from deepsmile.errors import JobAbandoned, JobCanceled
from deepsmile.store.changes import WAITING, change_jobs, ended, is_due
from deepsmile.store.claims import Retries
from deepsmile.store.database import Database
from deepsmile.store.rows import StoredJob
from deepsmile.store.schema import JOBS
from deepsmile.wire import RUNNING, Fault, JobState


def expire_leases(database: Database, now: float, retries: Retries) -> list[StoredJob]:
    """Take jobs from workers that fell silent; one that lost too many has failed.

    The first time a job goes on at once; after that it may be what kills the workers, and
    pauses, so that others have their turn.
    """
    attempts = retries.attempts
    expired = update(JOBS).where(JOBS.c.state.in_(RUNNING), JOBS.c.lease_until < now)
    lost = expired.values(losses=JOBS.c.losses + 1)
    canceled = Fault.of(JobCanceled("canceled; its worker was lost on the way"))
    abandoned = Fault.of(JobAbandoned(f"{attempts} attempts lost their worker"))
    steps = (
        lost.where(JOBS.c.cancel_requested).values(**ended(JobState.CANCELED, canceled, now)),
        lost.where(JOBS.c.losses + 1 >= attempts).values(**ended(JobState.FAILED, abandoned, now)),
        lost.values(**WAITING, not_before=now + retries.pause_s * JOBS.c.losses),
    )
    with database.write() as connection:
        return [job for step in steps for job in change_jobs(connection, step, now)]


def take_unannounced(database: Database, now: float, limit: int) -> list[str]:
    """Jobs for which the doorbell has yet to ring, oldest first; they count as announced now."""
    return _announce(database, JOBS.c.announced_at.is_(None), now, limit)


def take_overdue(database: Database, now: float, since: float, limit: int) -> list[str]:
    """The jobs announced longest ago, before `since`, that no worker took up."""
    return _announce(database, JOBS.c.announced_at < since, now, limit)


def _announce(database: Database, which: ColumnElement[bool], now: float, limit: int) -> list[str]:
    waiting = (
        select(JOBS.c.id)
        .where(is_due(now), which)
        .order_by(JOBS.c.announced_at, JOBS.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    take = update(JOBS).where(JOBS.c.id.in_(waiting)).values(announced_at=now)
    with database.write() as connection:
        rows = connection.execute(take.returning(JOBS.c.id, JOBS.c.seq)).all()
    return [row.id for row in sorted(rows, key=lambda row: row.seq)]


def unannounce(database: Database, job_ids: Iterable[str]) -> None:
    """The doorbell did not ring for these after all."""
    waiting = and_(JOBS.c.id.in_(list(job_ids)), JOBS.c.state == JobState.ACCEPTED)
    with database.write() as connection:
        connection.execute(update(JOBS).where(waiting).values(announced_at=None))


def count_announced(database: Database) -> int:
    """Jobs that wait for a worker and for which the doorbell rang."""
    waiting = and_(JOBS.c.state == JobState.ACCEPTED, JOBS.c.announced_at.is_not(None))
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(JOBS).where(waiting)) or 0


def ends_of(database: Database, job_ids: list[str]) -> dict[str, float]:
    """When each of these jobs ended; infinity for those that have not."""
    known = select(JOBS.c.id, JOBS.c.finished_at).where(JOBS.c.id.in_(job_ids))
    with database.read() as connection:
        return {row.id: row.finished_at or inf for row in connection.execute(known)}


@dataclass(frozen=True)
class Totals:
    """Figures for monitoring."""

    by_state: dict[JobState, int]
    oldest_waiting: float | None
    """When it was accepted."""
    tiles: int
    seconds: float
    losses: int


def totals(database: Database) -> Totals:
    """Count the jobs."""
    per_state = select(
        JOBS.c.state,
        func.count(),
        func.coalesce(func.sum(JOBS.c.tiles), 0),
        func.coalesce(func.sum(JOBS.c.seconds), 0.0),
        func.sum(JOBS.c.losses),
    ).group_by(JOBS.c.state)
    oldest = select(func.min(JOBS.c.created_at)).where(JOBS.c.state == JobState.ACCEPTED)
    with database.read() as connection:
        rows = connection.execute(per_state).all()
        oldest_waiting = connection.scalar(oldest)
    counts = {row[0]: row[1] for row in rows}
    return Totals(
        by_state={state: counts.get(state, 0) for state in JobState},
        oldest_waiting=oldest_waiting,
        tiles=int(sum(row[2] for row in rows)),
        seconds=float(sum(row[3] for row in rows)),
        losses=int(sum(row[4] for row in rows)),
    )
