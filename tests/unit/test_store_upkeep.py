"""The store as the sweeper uses it: silent workers, the outbox, totals."""

from math import inf

import pytest

from deepsmile.errors import StoreUnavailable
from deepsmile.store.claims import Outcome, claim_next, finish
from deepsmile.store.database import Database
from deepsmile.store.jobs import cancel_job, get_job
from deepsmile.store.upkeep import (
    count_announced,
    ends_of,
    expire_leases,
    take_overdue,
    take_unannounced,
    totals,
    unannounce,
)
from deepsmile.wire import JobState
from tests.jobs import RETRIES, accept


def test_a_silent_worker_loses_its_job_when_the_lease_ends(database: Database) -> None:
    accept(database)
    claim_next(database, "w", 0.0, 30.0)
    assert expire_leases(database, 30.0, RETRIES) == []
    (expired,) = expire_leases(database, 30.1, RETRIES)
    assert (expired.state, expired.losses, expired.announced_at) == (JobState.ACCEPTED, 1, None)
    assert expire_leases(database, 30.2, RETRIES) == []


def test_a_job_that_kills_its_workers_is_abandoned_after_exactly_three(database: Database) -> None:
    accept(database)
    for attempt in (1, 2, 3):
        claimed = claim_next(database, "w", 100.0 * attempt, 30.0)
        assert claimed is not None
        assert claimed.attempt == attempt
        (expired,) = expire_leases(database, 100.0 * attempt + 31, RETRIES)
    assert expired.state is JobState.FAILED
    assert expired.error is not None
    assert expired.error.code == "job_abandoned"
    assert claim_next(database, "w", 500.0, 30.0) is None


def test_a_cancel_that_met_a_lost_worker_ends_the_job(database: Database) -> None:
    job = accept(database)
    claim_next(database, "w", 0.0, 30.0)
    cancel_job(database, job.id, 1.0)
    (expired,) = expire_leases(database, 31.0, RETRIES)
    assert expired.state is JobState.CANCELED


def test_each_job_is_taken_from_the_outbox_once_oldest_first(database: Database) -> None:
    ids = [accept(database, now=float(n)).id for n in range(3)]
    assert take_unannounced(database, 10.0, limit=2) == ids[:2]
    assert take_unannounced(database, 11.0, limit=2) == ids[2:]
    assert take_unannounced(database, 12.0, limit=2) == []


def test_a_ring_that_failed_puts_the_job_back_into_the_outbox(database: Database) -> None:
    job = accept(database)
    assert take_unannounced(database, 1.0, limit=9) == [job.id]
    unannounce(database, [job.id])
    assert take_unannounced(database, 2.0, limit=9) == [job.id]


def test_jobs_that_nobody_took_up_are_overdue_and_then_announced_anew(database: Database) -> None:
    first, second = accept(database), accept(database)
    take_unannounced(database, 1.0, limit=9)
    assert count_announced(database) == 2
    assert take_overdue(database, 20.0, since=1.0, limit=9) == []
    assert take_overdue(database, 20.0, since=2.0, limit=1) == [first.id]
    assert take_overdue(database, 20.0, since=2.0, limit=9) == [second.id]
    assert take_overdue(database, 20.0, since=2.0, limit=9) == []


def test_the_job_announced_longest_ago_is_overdue_first(database: Database) -> None:
    """Not the oldest one: that was rung for again a moment ago."""
    oldest, second = accept(database), accept(database)
    take_unannounced(database, 1.0, limit=9)
    assert take_overdue(database, 20.0, since=2.0, limit=1) == [oldest.id]
    assert take_overdue(database, 40.0, since=30.0, limit=1) == [second.id]


def test_a_claimed_job_is_out_of_the_outbox(database: Database) -> None:
    accept(database)
    claim_next(database, "w", 0.0, 30.0)
    assert take_unannounced(database, 1.0, limit=9) == []
    assert count_announced(database) == 0


def test_ends_are_infinite_for_jobs_that_go_on(database: Database) -> None:
    active, canceled = accept(database), accept(database)
    cancel_job(database, canceled.id, 8.0)
    found = ends_of(database, [active.id, canceled.id, "0" * 32])
    assert found == {active.id: inf, canceled.id: 8.0}


def test_totals_count_jobs_tiles_and_seconds(database: Database) -> None:
    for tiles in (5, 7):
        accept(database, now=4.0)
        job = claim_next(database, "w", 5.0, 30.0)
        assert job is not None
        outcome = Outcome(JobState.COMPLETED, report="{}", tiles=tiles, seconds=0.25)
        finish(database, job, outcome, 6.0)
    accept(database, now=3.0)
    found = totals(database)
    assert found.by_state[JobState.COMPLETED] == 2
    assert found.by_state[JobState.ACCEPTED] == 1
    assert found.by_state[JobState.FAILED] == 0
    assert (found.oldest_waiting, found.tiles, found.seconds) == (3.0, 12, 0.5)


def test_totals_of_nothing_are_zero(database: Database) -> None:
    found = totals(database)
    assert (found.oldest_waiting, found.tiles, found.losses) == (None, 0, 0)


def test_a_database_that_is_away_says_so_without_a_path(database: Database) -> None:
    away = Database("sqlite:////nowhere/at/all.sqlite")
    with pytest.raises(StoreUnavailable) as caught:
        get_job(away, "0" * 32)
    assert "nowhere" not in caught.value.detail
    assert caught.value.retryable
