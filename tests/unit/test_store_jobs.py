"""The store as the API uses it: accept once, find again, cancel."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from deepsmile.errors import IdempotencyConflict, JobFinished, JobNotFound
from deepsmile.store.claims import Outcome, claim_next, finish
from deepsmile.store.database import Database
from deepsmile.store.jobs import (
    Accepted,
    cancel_job,
    get_job,
    get_report,
    list_events,
    list_jobs,
    submit,
)
from deepsmile.store.rows import StoredJob
from deepsmile.wire import JobState
from tests.jobs import accept, new_job


def end(database: Database, job: StoredJob, state: JobState = JobState.COMPLETED) -> None:
    """Have a worker bring the job to an end."""
    claimed = claim_next(database, "w", 1.0, 30.0)
    assert claimed is not None
    assert finish(database, claimed, Outcome(state, report="{}"), 2.0)


def test_an_accepted_job_survives_a_new_connection(database: Database, database_url: str) -> None:
    job = accept(database, now=7.5)
    again = Database(database_url)
    assert get_job(again, job.id) == job
    assert (job.state, job.created_at, job.attempt) == (JobState.ACCEPTED, 7.5, 0)
    again.close()


def test_commits_to_sqlite_reach_the_disk_before_they_return(
    database: Database, database_url: str
) -> None:
    if not database_url.startswith("sqlite"):
        pytest.skip("a matter of the server's settings")
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.REJECTED])
def test_the_same_bytes_get_the_job_that_answered(database: Database, state: JobState) -> None:
    first = accept(database, slide="a" * 64)
    end(database, first, state)
    second = submit(database, new_job("a" * 64), 3.0, None)
    assert (second.job.id, second.is_new) == (first.id, False)


def test_the_same_bytes_join_a_job_that_runs(database: Database) -> None:
    first = accept(database, slide="a" * 64)
    claim_next(database, "w", 1.0, 30.0)
    assert submit(database, new_job("a" * 64), 3.0, None).job.id == first.id


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELED])
def test_a_job_without_an_answer_is_not_reused(database: Database, state: JobState) -> None:
    first = accept(database, slide="a" * 64)
    end(database, first, state)
    assert submit(database, new_job("a" * 64), 3.0, None).is_new


@pytest.mark.parametrize(
    "change", [{"mpp": 0.5}, {"bundle_digest": "c" * 64}, {"fresh": True}, {"slide": "d" * 64}]
)
def test_another_question_is_another_job(database: Database, change: dict[str, object]) -> None:
    first = accept(database, slide="a" * 64)
    end(database, first)
    changed = new_job(**{"slide": "a" * 64, **change})
    assert submit(database, changed, 3.0, None).is_new


def test_a_fresh_job_is_never_joined(database: Database) -> None:
    fresh = accept(database, slide="a" * 64, fresh=True)
    assert submit(database, new_job("a" * 64), 1.0, None).job.id != fresh.id


def test_the_same_key_and_request_give_the_same_job(database: Database) -> None:
    first = submit(database, new_job("a" * 64, fresh=True), 1.0, "key")
    again = submit(database, new_job("a" * 64, fresh=True), 2.0, "key")
    assert (again.job.id, again.is_new) == (first.job.id, False)


@pytest.mark.parametrize(
    "changes",
    [{"slide": "b" * 64}, {"bundle_name": "other"}, {"mpp": 0.25}, {"fresh": True}],
    ids=lambda changes: "".join(changes),
)
def test_the_same_key_with_another_request_conflicts(
    changes: dict[str, Any], database: Database
) -> None:
    submit(database, new_job("a" * 64), 1.0, "key")
    with pytest.raises(IdempotencyConflict):
        submit(database, new_job(**{"slide": "a" * 64, **changes}), 2.0, "key")
    assert len(list_jobs(database, limit=9, before=None, state=None)) == 1


@pytest.mark.parametrize("key", [None, "key"])
def test_equal_requests_at_once_are_one_job(database: Database, key: str | None) -> None:
    start = Barrier(8)

    def post(_: int) -> Accepted:
        new = new_job("a" * 64)
        start.wait()
        return submit(database, new, 1.0, key)

    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(post, range(8)))
    assert len({one.job.id for one in accepted}) == 1
    assert sum(one.is_new for one in accepted) == 1


def test_a_key_sticks_to_the_job_that_it_joined(database: Database) -> None:
    first = accept(database, slide="a" * 64)
    assert submit(database, new_job("a" * 64), 1.0, "key").job.id == first.id
    end(database, first, JobState.FAILED)
    assert submit(database, new_job("a" * 64), 4.0, "key").job.id == first.id


def test_pages_cover_every_job_once_newest_first(database: Database) -> None:
    ids = [accept(database).id for _ in range(5)]
    first = list_jobs(database, limit=3, before=None, state=None)
    rest = list_jobs(database, limit=3, before=first[-1].seq, state=None)
    assert [job.id for job in first + rest] == ids[::-1]


def test_a_list_keeps_to_a_state(database: Database) -> None:
    done, _waiting = accept(database), accept(database)
    end(database, done)
    found = list_jobs(database, limit=9, before=None, state=JobState.COMPLETED)
    assert [job.id for job in found] == [done.id]


def test_an_unknown_job_is_not_found(database: Database) -> None:
    with pytest.raises(JobNotFound):
        get_job(database, "0" * 32)
    with pytest.raises(JobNotFound):
        cancel_job(database, "0" * 32, 1.0)


def test_a_waiting_job_is_canceled_at_once(database: Database) -> None:
    job = accept(database)
    canceled = cancel_job(database, job.id, 5.0)
    assert (canceled.state, canceled.finished_at) == (JobState.CANCELED, 5.0)
    assert canceled.error is not None
    assert canceled.error.code == "job_canceled"
    assert claim_next(database, "w", 6.0, 30.0) is None
    assert cancel_job(database, job.id, 7.0) == canceled


def test_a_running_job_is_asked_to_stop(database: Database) -> None:
    job = accept(database)
    claim_next(database, "w", 1.0, 30.0)
    asked = cancel_job(database, job.id, 5.0)
    assert (asked.state, asked.cancel_requested) == (JobState.FETCHING, True)


def test_a_finished_job_cannot_be_canceled(database: Database) -> None:
    job = accept(database)
    end(database, job)
    with pytest.raises(JobFinished):
        cancel_job(database, job.id, 5.0)
    assert get_job(database, job.id).state is JobState.COMPLETED
    assert get_report(database, job.id) == "{}"


def test_events_go_on_after_the_last_one_seen(database: Database) -> None:
    job = accept(database)
    end(database, job)
    events = list_events(database, job.id, 0)
    assert [event.state for event in events] == ["accepted", "fetching", "completed"]
    assert list_events(database, job.id, events[0].seq) == events[1:]
    assert list_events(database, job.id, events[-1].seq) == []


def test_the_same_slide_sent_after_a_cancel_is_a_job_of_its_own(database: Database) -> None:
    """What the hint of `job_canceled` tells people to do, while the first is still at work."""
    first = accept(database, slide="a" * 64)
    claim_next(database, "w", 1.0, 30.0)
    cancel_job(database, first.id, 2.0)
    again = submit(database, new_job("a" * 64), 3.0, None)
    assert (again.is_new, again.job.state) == (True, JobState.ACCEPTED)
