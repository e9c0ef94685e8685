"""The queue under faults: no acknowledged job is lost, none ends twice.

A small seed of benchmarks/queue_faults.py. Real processes, killed by SIGKILL.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from deepsmile.client import Client
from deepsmile.doorbell import Doorbell, make_celery
from deepsmile.store.database import Database
from deepsmile.store.jobs import get_job
from deepsmile.store.rows import StoredJob
from deepsmile.wire import ENDED, JobState
from tests.history import Verdict, judge
from tests.service import RunningService, wait_until

pytestmark = pytest.mark.slow

WELL = Verdict(lost=[], ended_twice=[])


@pytest.fixture(scope="module")
def queue(repository: Path) -> Iterator[RunningService]:
    """A service whose slides say how long they take; leases of 2 s."""
    with RunningService(
        repository,
        worker=("-m", "tests.fake_worker"),
        lease_s=2.0,
        heartbeat_s=0.5,
        sweep_s=0.5,
        drain_s=1.0,
        max_attempts=4,
        retry_pause_s=0.2,
    ) as running:
        yield running


@pytest.fixture
def client(queue: RunningService) -> Iterator[Client]:
    with Client(queue.url) as client:
        yield client


class Orders:
    """Writes slides that nobody else has, and sends them by path."""

    def __init__(self, queue: RunningService, client: Client) -> None:
        self._queue, self._client = queue, client
        self._database = Database(queue.settings.database)
        self.sent: list[str] = []

    def send(self, **order: object) -> str:
        path = self._queue.slides / f"{time.monotonic_ns()}.svs"
        path.write_text(json.dumps({**order, "unique": time.monotonic_ns()}))
        job = self._client.predict_path(str(path))
        self.sent.append(job.id)
        return job.id

    def job(self, job_id: str) -> StoredJob:
        return get_job(self._database, job_id)

    def wait(self, timeout_s: float = 60.0) -> Verdict:
        """Wait for all to end, and judge."""
        wait_until(lambda: all(self.job(sent).state in ENDED for sent in self.sent), timeout_s, 0.2)
        return judge(self._queue.settings.database, self.sent)

    def states(self) -> set[JobState]:
        return {self.job(sent).state for sent in self.sent}

    def close(self) -> None:
        self._database.close()


@pytest.fixture
def orders(queue: RunningService, client: Client) -> Iterator[Orders]:
    orders = Orders(queue, client)
    yield orders
    orders.close()


def running(orders: Orders, job_id: str) -> bool:
    return orders.job(job_id).state is JobState.ENCODING


def pool_child(worker: subprocess.Popen[bytes]) -> psutil.Process:
    """The process that scores."""
    (child,) = psutil.Process(worker.pid).children()
    return child


def test_workers_killed_at_random_lose_nothing(queue: RunningService, orders: Orders) -> None:
    dice = random.Random(7)
    for _ in range(40):
        orders.send(steps=4, step_s=0.02)
    for _ in range(4):
        queue.kill_worker(queue.workers[0])
        queue.start_worker()
        time.sleep(dice.uniform(1.5, 2.5))
    assert orders.wait() == WELL
    assert orders.states() == {JobState.COMPLETED}


def test_a_process_killed_in_the_middle_is_replaced_long_before_its_lease_ends(
    repository: Path,
) -> None:
    fake = ("-m", "tests.fake_worker")
    with (
        RunningService(repository, worker=fake, lease_s=60.0) as queue,
        Client(queue.url) as client,
    ):
        orders = Orders(queue, client)
        job_id = orders.send(steps=40, step_s=0.05)
        wait_until(lambda: running(orders, job_id))
        pool_child(queue.workers[0]).kill()
        wait_until(lambda: orders.job(job_id).attempt == 2, timeout_s=queue.settings.lease_s / 3)
        assert orders.wait() == WELL
        orders.close()


def test_a_poison_slide_fails_after_its_attempts_and_harms_no_other(
    queue: RunningService, orders: Orders
) -> None:
    poison = orders.send(dies=True)
    others = [orders.send(steps=2) for _ in range(3)]
    assert orders.wait() == WELL
    job = orders.job(poison)
    assert (job.state, job.attempt) == (JobState.FAILED, queue.settings.max_attempts)
    assert job.error is not None
    assert job.error.code == "job_abandoned"
    assert {orders.job(other).state for other in others} == {JobState.COMPLETED}


def test_a_broker_killed_and_restarted_loses_nothing(queue: RunningService, orders: Orders) -> None:
    for _ in range(10):
        orders.send(steps=4, step_s=0.02)
    queue.kill_broker()
    for _ in range(5):
        started = time.monotonic()
        orders.send(steps=4, step_s=0.02)
        assert time.monotonic() - started < 1, "accepted at once, broker or not"
    queue.start_broker()
    assert orders.wait() == WELL
    assert orders.states() == {JobState.COMPLETED}


def test_a_broker_that_forgets_its_messages_loses_nothing(
    queue: RunningService, orders: Orders
) -> None:
    orders.send(steps=20, step_s=0.05)
    for _ in range(5):
        orders.send(steps=1)
    with redis.Redis(unix_socket_path=str(queue.settings.valkey_socket)) as broker:
        wait_until(lambda: broker.llen("deepsmile") == 5)
        broker.delete("deepsmile")
    assert orders.wait() == WELL


def test_an_api_killed_and_restarted_keeps_what_it_acknowledged(
    queue: RunningService, orders: Orders, client: Client
) -> None:
    for _ in range(5):
        orders.send(steps=10, step_s=0.1)
    queue.kill_api()
    queue.start_api()
    assert client.wait(orders.sent[-1], timeout_s=60).state is JobState.COMPLETED
    assert orders.wait() == WELL


def test_a_doorbell_that_rings_many_times_starts_a_job_once(
    queue: RunningService, orders: Orders
) -> None:
    doorbell = Doorbell(make_celery(queue.settings))
    job_id = orders.send(steps=10, step_s=0.02)
    for _ in range(20):
        doorbell.ring([job_id])
    assert orders.wait() == WELL
    wait_until(lambda: doorbell.count() == 0)
    assert orders.job(job_id).attempt == 1
    doorbell.close()


def test_a_worker_that_sleeps_past_its_lease_writes_nothing_when_it_wakes(
    queue: RunningService, orders: Orders
) -> None:
    job_id = orders.send(steps=30, step_s=0.05)
    wait_until(lambda: running(orders, job_id))
    (asleep,) = queue.workers
    pids = [asleep.pid, pool_child(asleep).pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    queue.start_worker()
    wait_until(lambda: orders.job(job_id).attempt == 2)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    assert orders.wait() == WELL
    assert orders.job(job_id).state is JobState.COMPLETED
    wait_until(lambda: f"job {job_id}: attempt 1 lost its lease" in queue.log)
    queue.kill_worker(asleep)


def test_a_worker_that_is_stopped_finishes_a_short_job_first(
    queue: RunningService, orders: Orders
) -> None:
    job_id = orders.send(steps=10, step_s=0.05)
    wait_until(lambda: running(orders, job_id))
    (worker,) = queue.workers
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    queue.workers.remove(worker)
    job = orders.job(job_id)
    assert (job.state, job.attempt) == (JobState.COMPLETED, 1)
    queue.start_worker()


def test_a_worker_that_is_stopped_hands_back_a_long_job_free_of_charge(
    queue: RunningService, orders: Orders
) -> None:
    job_id = orders.send(steps=80, step_s=0.05)
    wait_until(lambda: running(orders, job_id))
    (worker,) = queue.workers
    worker.send_signal(signal.SIGTERM)
    worker.wait(20)
    queue.workers.remove(worker)
    job = orders.job(job_id)
    assert (job.state, job.losses) == (JobState.ACCEPTED, 0)
    queue.start_worker()
    assert orders.wait() == WELL
    assert orders.job(job_id).state is JobState.COMPLETED
