"""The watch over a worker: deaf is who lets jobs wait without working."""

import pytest

from deepsmile.store.claims import Outcome, claim_next, finish
from deepsmile.store.database import Database
from deepsmile.store.upkeep import take_unannounced
from deepsmile.watch import Watch
from deepsmile.wire import JobState
from tests.jobs import accept


@pytest.fixture
def watch(database: Database) -> Watch:
    return Watch(database, "w", patience_s=60.0)


def announce(database: Database) -> None:
    take_unannounced(database, 0.0, limit=99)


def test_a_worker_that_lets_jobs_wait_is_deaf_after_a_while(
    database: Database, watch: Watch
) -> None:
    accept(database)
    announce(database)
    assert [watch.is_deaf(now) for now in (0.0, 30.0, 60.0, 61.0)] == [False, False, False, True]


def test_nobody_waits_for_a_worker_without_jobs(watch: Watch) -> None:
    assert not any(watch.is_deaf(now) for now in (0.0, 100.0, 1e6))


def test_a_job_that_was_not_announced_is_no_fault_of_the_worker(
    database: Database, watch: Watch
) -> None:
    accept(database)
    assert not any(watch.is_deaf(now) for now in (0.0, 100.0, 1e6))


def test_a_worker_at_work_is_not_deaf(database: Database, watch: Watch) -> None:
    accept(database)
    claim_next(database, "w", 0.0, 30.0)
    accept(database)
    announce(database)
    assert not any(watch.is_deaf(now) for now in (0.0, 100.0, 1e6))


def test_short_jobs_between_looks_are_work_too(database: Database, watch: Watch) -> None:
    for _ in range(5):
        accept(database)
    announce(database)
    for now in (0.0, 50.0, 100.0, 150.0):
        job = claim_next(database, "w", now, 30.0)
        assert job is not None
        finish(database, job, Outcome(JobState.COMPLETED), now + 1)
        assert not watch.is_deaf(now + 2)
    assert not watch.is_deaf(200.0)
    assert watch.is_deaf(300.0)


def test_the_work_of_others_does_not_excuse(database: Database, watch: Watch) -> None:
    for _ in range(2):
        accept(database)
    announce(database)
    claim_next(database, "other", 0.0, 1e9)
    assert [watch.is_deaf(now) for now in (0.0, 100.0)] == [False, True]
