"""Changes: what all who write jobs share: whose turn it is, how jobs wait and end, what is told."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, and_, func

from deepsmile.store.rows import JOB_COLUMNS, StoredJob, job_of, record
from deepsmile.store.schema import JOBS
from deepsmile.wire import Fault, JobState

WAITING: dict[str, Any] = {
    "state": JobState.ACCEPTED,
    "stage_done": 0,
    "stage_total": 0,
    "lease_until": None,
    "announced_at": None,
}
"""Columns of a job that waits for a worker again, and for the doorbell."""


def is_due(now: float) -> ColumnElement[bool]:
    """True for jobs that wait, and no longer for another attempt's pause."""
    return and_(JOBS.c.state == JobState.ACCEPTED, func.coalesce(JOBS.c.not_before, 0.0) <= now)


def ended(state: JobState, fault: Fault | None, now: float) -> dict[str, Any]:
    """Columns of a job that has ended."""
    return {
        "state": state,
        "error": fault.model_dump_json() if fault else None,
        "finished_at": now,
        "lease_until": None,
        "dedupe_key": None,
    }


def change_jobs(connection: Connection, change: Update, now: float) -> list[StoredJob]:
    """Change jobs and record what each came to; the jobs after it."""
    rows = connection.execute(change.returning(*JOB_COLUMNS)).mappings().all()
    jobs = [job_of(row) for row in rows]
    for job in jobs:
        record(connection, job, now)
    return jobs
