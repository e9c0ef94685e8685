"""The store as workers use it: one at a time, and only while they hold the lease."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from deepsmile.errors import InferenceUnavailable, SlideCorrupt
from deepsmile.store.claims import (
    LONGEST_PAUSE_S,
    Outcome,
    Standing,
    Step,
    advance,
    claim_next,
    finish,
    forfeit,
    hand_back,
    note_slide,
    renew,
    try_again,
    wait_for_inference,
)
from deepsmile.store.database import Database
from deepsmile.store.jobs import cancel_job, get_job, get_report, list_events
from deepsmile.store.rows import StoredJob
from deepsmile.store.upkeep import expire_leases, take_unannounced
from deepsmile.wire import Fault, JobState
from tests.jobs import RETRIES, accept

DONE = Outcome(JobState.COMPLETED, report="{}", tiles=8, seconds=1.5)
FAULT = Fault.of(SlideCorrupt("tile 3"))
AWAY = Fault.of(InferenceUnavailable("no answer"))
DAY_S = 24 * 3600.0
ENCODING = Step(JobState.ENCODING, 0, 90, enters=True)


def claimed(database: Database, now: float = 0.0) -> StoredJob:
    """A job that a worker has, with a lease of 30 s."""
    accept(database)
    job = claim_next(database, "w", now, 30.0)
    assert job is not None
    return job


def starve(database: Database, job: StoredJob, now: float, fault: Fault = AWAY) -> bool:
    """An attempt that found no inference."""
    return wait_for_inference(database, job, fault, now, pause_s=10.0, limit_s=DAY_S)


def test_a_claim_names_the_worker_and_counts_the_attempt(database: Database) -> None:
    job = claimed(database, now=4.0)
    assert (job.state, job.worker, job.attempt) == (JobState.FETCHING, "w", 1)
    assert (job.lease_until, job.started_at) == (34.0, 4.0)


def test_a_second_ring_finds_nothing_to_claim(database: Database) -> None:
    job = claimed(database)
    assert claim_next(database, "other", 1.0, 30.0) is None
    finish(database, job, DONE, 2.0)
    assert claim_next(database, "other", 3.0, 30.0) is None


def test_the_first_goes_first_and_on_after_one_lost_worker_but_pauses_after_two(
    database: Database,
) -> None:
    first, second = accept(database), accept(database)
    for now, wanted in ((0.0, first), (31.0, first), (62.0, second), (72.1, first)):
        expire_leases(database, now, RETRIES)
        taken = claim_next(database, "w", now, 30.0)
        assert taken is not None
        assert taken.id == wanted.id


def test_of_many_threads_one_gets_the_job(database: Database) -> None:
    job, start = accept(database), Barrier(8)

    def compete(name: int) -> StoredJob | None:
        start.wait()
        return claim_next(database, str(name), 0.0, 30.0)

    with ThreadPoolExecutor(8) as pool:
        winners = [won for won in pool.map(compete, range(8)) if won]
    assert len(winners) == 1
    assert get_job(database, job.id).attempt == 1


COMPETE = """
import sys
from deepsmile.store.claims import claim_next
from deepsmile.store.database import Database
database = Database(sys.argv[1])
while job := claim_next(database, "w", 0.0, 30.0):
    sys.stdout.write(job.id + " ")
"""


@pytest.mark.slow
def test_of_many_processes_each_job_goes_to_one(database: Database, database_url: str) -> None:
    job_ids = [accept(database).id for _ in range(40)]
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", COMPETE, database_url],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda rival: rival.communicate()[0], rivals))
    assert sorted(" ".join(said).split()) == sorted(job_ids)


def test_progress_keeps_the_lease_and_only_its_last_event(database: Database) -> None:
    job = claimed(database)
    advance(database, job, ENCODING, 5.0, 30.0)
    for done in (10, 20, 30):
        step = Step(JobState.ENCODING, done, 90, enters=False)
        assert advance(database, job, step, 10.0 + done, 30.0) is Standing.HELD
    now = get_job(database, job.id)
    assert (now.state, now.stage_done, now.stage_total) == (JobState.ENCODING, 30, 90)
    assert now.lease_until == 70.0
    kinds = [(event.kind, event.done) for event in list_events(database, job.id, 0)]
    assert kinds == [("state", 0), ("state", 0), ("state", 0), ("progress", 30)]


def test_an_end_is_state_result_and_event_at_once(database: Database) -> None:
    job = claimed(database)
    assert finish(database, job, DONE, 9.0)
    after = get_job(database, job.id)
    assert (after.state, after.finished_at) == (JobState.COMPLETED, 9.0)
    assert after.lease_until is None
    assert get_report(database, job.id) == "{}"
    assert list_events(database, job.id, 0)[-1].state is JobState.COMPLETED


def test_a_worker_that_lost_its_lease_writes_nothing(database: Database) -> None:
    old = claimed(database)
    expire_leases(database, 31.0, RETRIES)
    new = claim_next(database, "other", 32.0, 30.0)
    assert new is not None
    before = get_job(database, old.id), list_events(database, old.id, 0)
    assert renew(database, old, 33.0, 30.0) is Standing.LOST
    assert advance(database, old, ENCODING, 33.0, 30.0) is Standing.LOST
    assert note_slide(database, old, "a" * 64, 5) is None
    assert not finish(database, old, DONE, 33.0)
    assert not try_again(database, old, FAULT, 33.0, RETRIES)
    assert not starve(database, old, 33.0)
    assert (get_job(database, old.id), list_events(database, old.id, 0)) == before
    assert finish(database, new, DONE, 34.0)


def test_a_job_ends_once(database: Database) -> None:
    job = claimed(database)
    assert finish(database, job, DONE, 1.0)
    assert not finish(database, job, Outcome(JobState.FAILED, FAULT), 2.0)
    assert renew(database, job, 2.0, 30.0) is Standing.LOST
    assert get_job(database, job.id).state is JobState.COMPLETED


def test_a_worker_hears_of_a_cancel_with_its_next_write(database: Database) -> None:
    job = claimed(database)
    cancel_job(database, job.id, 1.0)
    assert advance(database, job, ENCODING, 2.0, 30.0) is Standing.CANCELED
    assert renew(database, job, 3.0, 30.0) is Standing.CANCELED


def test_an_error_that_may_pass_is_tried_again_until_attempts_run_out(database: Database) -> None:
    job = accept(database)
    for attempt, now, pause_s in ((1, 0.0, 10.0), (2, 10.0, 20.0), (3, 30.0, 0.0)):
        if attempt > 1:
            assert claim_next(database, "w", now - 0.1, 30.0) is None
        held = claim_next(database, "w", now, 30.0)
        assert held is not None
        assert held.attempt == attempt
        assert try_again(database, held, FAULT, now, RETRIES)
        assert take_unannounced(database, now + pause_s - 0.1, limit=9) == []
    ended = get_job(database, job.id)
    assert (ended.state, ended.error) == (JobState.FAILED, FAULT)


@pytest.mark.slow
def test_a_job_without_inference_waits_longer_each_time_and_loses_nothing(
    database: Database,
) -> None:
    job, now = accept(database), 0.0
    for pause_s in (10.0, 20.0, 40.0, 80.0, 160.0, *[LONGEST_PAUSE_S] * 30):
        held = claim_next(database, "w", now, 30.0)
        assert held is not None
        assert held.error is None
        assert starve(database, held, now)
        waiting = get_job(database, job.id)
        assert (waiting.state, waiting.losses, waiting.error) == (JobState.ACCEPTED, 0, AWAY)
        assert list_events(database, job.id, 0)[-1].error == AWAY
        now += pause_s
        assert take_unannounced(database, now - 0.1, limit=9) == []
        assert claim_next(database, "w", now - 0.1, 30.0) is None
        assert take_unannounced(database, now, limit=9) == [job.id]
    last = claim_next(database, "w", now, 30.0)
    assert last is not None
    assert finish(database, last, DONE, now)
    assert get_job(database, job.id).error is None


def test_a_job_fails_once_it_has_waited_for_inference_too_long(database: Database) -> None:
    """From its first vain attempt: what came before was the queue's time."""
    job = accept(database)
    late = DAY_S * 3
    for now in (late, late + DAY_S - 1):
        held = claim_next(database, "w", now, 30.0)
        assert held is not None
        assert starve(database, held, now)
        assert get_job(database, job.id).state is JobState.ACCEPTED
    held = claim_next(database, "w", late + DAY_S + 300, 30.0)
    assert held is not None
    assert starve(database, held, late + DAY_S + 300)
    failed = get_job(database, job.id)
    assert (failed.state, failed.error) == (JobState.FAILED, AWAY)


def test_jobs_that_wait_for_inference_keep_no_other_waiting(database: Database) -> None:
    starved = [accept(database), accept(database)]
    for _ in starved:
        held = claim_next(database, "w", 0.0, 30.0)
        assert held is not None
        starve(database, held, 0.0)
    other = accept(database, now=1.0)
    taken = [claim_next(database, "w", 100.0, 30.0) for _ in range(3)]
    assert [job.id for job in taken if job] == [other.id, *(job.id for job in starved)]


def test_a_job_that_waits_for_inference_can_be_canceled(database: Database) -> None:
    job = claimed(database)
    starve(database, job, 1.0)
    canceled = cancel_job(database, job.id, 2.0)
    assert canceled.state is JobState.CANCELED
    assert canceled.error is not None
    assert canceled.error.code == "job_canceled"
    assert claim_next(database, "w", 100.0, 30.0) is None


def test_a_cancel_during_an_attempt_that_fails_ends_the_job(database: Database) -> None:
    """Without inference an attempt may never come to where it would hear of it."""
    for again in (
        lambda job: starve(database, job, 2.0),
        lambda job: try_again(database, job, FAULT, 2.0, RETRIES),
    ):
        job = claimed(database)
        cancel_job(database, job.id, 1.0)
        assert again(job)
        ended = get_job(database, job.id)
        assert (ended.state, ended.finished_at) == (JobState.CANCELED, 2.0)
        assert [event.state for event in list_events(database, job.id, 0)].count(ended.state) == 1


def test_what_a_stopping_worker_holds_goes_back_free_of_charge(database: Database) -> None:
    job = claimed(database)
    accept(database)
    other = claim_next(database, "other", 0.0, 30.0)
    assert other is not None
    assert hand_back(database, "w", 5.0) == [job.id]
    back = get_job(database, job.id)
    assert (back.state, back.losses, back.announced_at) == (JobState.ACCEPTED, 0, None)
    assert get_job(database, other.id) == other


def test_the_lease_of_a_dead_process_ends_at_once(database: Database) -> None:
    job = claimed(database, now=100.0)
    forfeit(database, "somebody else")
    assert expire_leases(database, 101.0, RETRIES) == []
    forfeit(database, "w")
    assert [gone.id for gone in expire_leases(database, 101.0, RETRIES)] == [job.id]


@pytest.mark.parametrize("writes", [1, 5])
def test_the_digest_of_a_slide_is_noted_under_the_fence(database: Database, writes: int) -> None:
    accept(database, slide_sha256=None)
    job = claim_next(database, "w", 0.0, 30.0)
    for _ in range(writes):
        assert job is not None
        job = note_slide(database, job, "e" * 64, 12)
    assert job is not None
    assert (job.slide_sha256, job.slide_bytes) == ("e" * 64, 12)
