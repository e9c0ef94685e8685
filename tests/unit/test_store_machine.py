"""Whatever workers, cancels and the clock do: no job is lost, none ends twice."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from deepsmile.errors import InferenceUnavailable, JobFinished, SlideCorrupt
from deepsmile.store.claims import (
    LONGEST_PAUSE_S,
    Outcome,
    Standing,
    Step,
    advance,
    claim_next,
    finish,
    hand_back,
    renew,
    try_again,
    wait_for_inference,
)
from deepsmile.store.database import Database
from deepsmile.store.jobs import cancel_job, get_job, list_events, submit
from deepsmile.store.rows import StoredJob
from deepsmile.store.upkeep import expire_leases, take_unannounced
from deepsmile.wire import ENDED, RUNNING, Fault, JobState
from tests.jobs import RETRIES, new_job

LEASE_S = 30.0
FAULT = Fault.of(SlideCorrupt("a tile"))
AWAY = Fault.of(InferenceUnavailable("no answer"))
WORKERS = st.sampled_from(["w1", "w2"])


class Jobs(RuleBasedStateMachine):
    """Claims are kept after they were lost, and used again and again."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.database = Database("sqlite://")
        self.database.create()
        self.now = 0.0
        self.accepted: list[str] = []
        self.holder: dict[str, int] = {}
        """The attempt that holds a job, as the rules understand it."""

    def teardown(self) -> None:
        self.drain()
        self.database.close()

    def holds(self, job: StoredJob) -> bool:
        return self.holder.get(job.id) == job.attempt

    @rule(slide=st.sampled_from("abc"), fresh=st.booleans())
    def accept(self, slide: str, fresh: bool) -> None:
        found = submit(self.database, new_job(slide * 64, fresh=fresh), self.now, None)
        if found.is_new:
            self.accepted.append(found.job.id)
        assert found.job.id in self.accepted

    @rule(target=claims, worker=WORKERS)
    def claim(self, worker: str) -> StoredJob | None:
        job = claim_next(self.database, worker, self.now, LEASE_S)
        if job:
            assert job.id not in self.holder
            self.holder[job.id] = job.attempt
        return job

    @rule(job=claims)
    def work(self, job: StoredJob | None) -> None:
        if job:
            step = Step(JobState.ENCODING, 1, 9, enters=False)
            standing = advance(self.database, job, step, self.now, LEASE_S)
            assert (standing is Standing.LOST) is not self.holds(job)

    @rule(job=claims)
    def beat(self, job: StoredJob | None) -> None:
        if job:
            standing = renew(self.database, job, self.now, LEASE_S)
            assert (standing is Standing.LOST) is not self.holds(job)

    @rule(job=consumes(claims), state=st.sampled_from(ENDED))
    def finish(self, job: StoredJob | None, state: JobState) -> None:
        if job:
            held = self.holds(job)
            assert finish(self.database, job, Outcome(state, report="{}"), self.now) is held
            if held:
                del self.holder[job.id]

    @rule(job=claims)
    def stumble(self, job: StoredJob | None) -> None:
        if job:
            held = self.holds(job)
            assert try_again(self.database, job, FAULT, self.now, RETRIES) is held
            if held:
                del self.holder[job.id]

    @rule(job=claims, limit_s=st.sampled_from([30.0, 3000.0]))
    def starve(self, job: StoredJob | None, limit_s: float) -> None:
        if job:
            held = self.holds(job)
            again = wait_for_inference(
                self.database, job, AWAY, self.now, pause_s=10.0, limit_s=limit_s
            )
            assert again is held
            if held:
                del self.holder[job.id]

    @rule(worker=WORKERS)
    def stop(self, worker: str) -> None:
        for job_id in hand_back(self.database, worker, self.now):
            del self.holder[job_id]

    @rule(index=st.integers(0, 9))
    def cancel(self, index: int) -> None:
        if self.accepted:
            job_id = self.accepted[index % len(self.accepted)]
            try:
                cancel_job(self.database, job_id, self.now)
            except JobFinished:
                assert get_job(self.database, job_id).state in ENDED

    @rule(seconds=st.sampled_from([1.0, 20.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        for job in expire_leases(self.database, self.now, RETRIES):
            del self.holder[job.id]
        take_unannounced(self.database, self.now, 99)

    @invariant()
    def no_job_is_lost_or_ended_twice(self) -> None:
        for job_id in self.accepted:
            job = get_job(self.database, job_id)
            ends = [e for e in list_events(self.database, job_id, 0) if e.state in ENDED]
            assert len(ends) == (job.state in ENDED)
            assert (job.state in RUNNING) is (job_id in self.holder)

    def drain(self) -> None:
        """With the faults over, workers bring every job to its end."""
        self.now += 2 * LEASE_S
        expire_leases(self.database, self.now, RETRIES)
        self.now += max(RETRIES.attempts * RETRIES.pause_s, LONGEST_PAUSE_S)
        while job := claim_next(self.database, "w", self.now, LEASE_S):
            assert finish(self.database, job, Outcome(JobState.COMPLETED), self.now)
        for job_id in self.accepted:
            assert get_job(self.database, job_id).state in ENDED


TestJobs = Jobs.TestCase
TestJobs.settings = settings(max_examples=15, stateful_step_count=40)
