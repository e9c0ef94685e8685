"""A worker's hold on a job: kept while it works, given up when told."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsmile.errors import JobCanceled, LeaseLost
from deepsmile.lease import PROGRESS_S, Lease
from deepsmile.store.claims import claim_next
from deepsmile.store.database import Database
from deepsmile.store.jobs import cancel_job, get_job, list_events
from deepsmile.store.rows import StoredJob
from deepsmile.store.upkeep import expire_leases
from deepsmile.wire import JobState
from tests.jobs import RETRIES, accept
from tests.service import wait_until

TAKEN = 1e12
"""A time after every lease."""


@pytest.fixture
def job(database: Database) -> StoredJob:
    accept(database)
    job = claim_next(database, "w", time.time(), 30.0)
    assert job is not None
    return job


def lease_of(database: Database, job: StoredJob, heartbeat_s: float = 60.0) -> Lease:
    return Lease(database, job, lease_s=30.0, heartbeat_s=heartbeat_s)


def test_the_lease_is_renewed_while_the_work_is_silent(database: Database, job: StoredJob) -> None:
    with lease_of(database, job, heartbeat_s=0.02):
        wait_until(lambda: (get_job(database, job.id).lease_until or 0) > (job.lease_until or 0))


def test_the_heart_stops_with_the_work(database: Database, job: StoredJob) -> None:
    with lease_of(database, job, heartbeat_s=0.02):
        assert any(thread.name == f"lease-{job.id}" for thread in threading.enumerate())
    assert not any(thread.name == f"lease-{job.id}" for thread in threading.enumerate())


def test_every_stage_is_written_but_not_every_tile(database: Database, job: StoredJob) -> None:
    with lease_of(database, job) as lease:
        lease.progress("encoding", 0, 90)
        for done in range(1, 50):
            lease.progress("encoding", done, 90)
        lease.progress("aggregating", 0, 0)
        time.sleep(PROGRESS_S)
        lease.progress("aggregating", 1, 2)
    seen = [(e.kind, e.state, e.done) for e in list_events(database, job.id, 0)]
    assert seen[2:] == [
        ("state", JobState.ENCODING, 0),
        ("state", JobState.AGGREGATING, 0),
        ("progress", JobState.AGGREGATING, 1),
    ]


def test_a_cancel_stops_the_work_at_its_next_step(database: Database, job: StoredJob) -> None:
    with lease_of(database, job) as lease:
        lease.progress("qc", 0, 0)
        cancel_job(database, job.id, 1.0)
        with pytest.raises(JobCanceled):
            lease.progress("tiling", 0, 0)


def heard_by_heartbeat(database: Database, job: StoredJob, change: Callable[[], object]) -> None:
    with lease_of(database, job, heartbeat_s=0.02) as lease:
        lease.progress("encoding", 0, 9)
        change()
        time.sleep(0.2)
        lease.progress("encoding", 1, 9)  # written by nobody: too soon after the last


def test_the_heartbeat_hears_of_a_cancel(database: Database, job: StoredJob) -> None:
    with pytest.raises(JobCanceled):
        heard_by_heartbeat(database, job, lambda: cancel_job(database, job.id, 1.0))


def test_the_heartbeat_hears_that_the_job_was_given_away(
    database: Database, job: StoredJob
) -> None:
    with pytest.raises(LeaseLost):
        heard_by_heartbeat(database, job, lambda: expire_leases(database, TAKEN, RETRIES))


def test_work_goes_on_while_the_database_is_away(
    tmp_path: Path, database: Database, job: StoredJob
) -> None:
    file = tmp_path / "jobs.sqlite"
    if not file.exists():
        pytest.skip("needs a database that can be moved away")
    database.close()
    with lease_of(database, job, heartbeat_s=0.02) as lease:
        file.rename(tmp_path / "away")
        file.mkdir()
        time.sleep(0.1)
        lease.progress("encoding", 3, 9)
        file.rmdir()
        (tmp_path / "away").rename(file)
        lease.progress("aggregating", 0, 0)
    assert get_job(database, job.id).state is JobState.AGGREGATING
