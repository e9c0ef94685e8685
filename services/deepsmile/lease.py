"""Lease: a worker's hold on a job, kept alive by a thread, and the progress written under it."""

import logging
import time
from threading import Event, Thread
from types import TracebackType
from typing import Self

from deepsmile.errors import JobCanceled, LeaseLost, StorageFull, StoreUnavailable
from deepsmile.store.claims import Standing, Step, advance, renew
from deepsmile.store.database import Database
from deepsmile.store.rows import StoredJob
from deepsmile.wire import JobState

logger = logging.getLogger(__name__)

PROGRESS_S = 0.3
"""Progress within a stage is written no more often than this."""


class Lease:
    """Use it as a context; inside, call `progress` between pieces of work.

    While the database is away or full, the work goes on: the fence in every write decides at last.
    """

    def __init__(
        self, database: Database, job: StoredJob, lease_s: float, heartbeat_s: float
    ) -> None:
        self._database, self._job = database, job
        self._lease_s, self._heartbeat_s = lease_s, heartbeat_s
        self._stage, self._written = job.state, 0.0
        self._standing, self._over = Standing.HELD, Event()
        self._heart = Thread(target=self._beat, name=f"lease-{job.id}", daemon=True)

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._heart.join()

    def progress(self, stage: str, done: int, total: int) -> None:
        """Write down how far the job is, unless that was done a moment ago.

        Raises:
            JobCanceled: somebody asked to stop.
            LeaseLost: somebody else has the job.
        """
        self._heed()
        state, now = JobState(stage), time.monotonic()
        if state == self._stage and now - self._written < PROGRESS_S:
            return
        step = Step(state, done, total, enters=state != self._stage)
        self._stage, self._written = state, now
        try:
            self._standing = advance(self._database, self._job, step, time.time(), self._lease_s)
        except (StoreUnavailable, StorageFull) as error:
            logger.warning("job %s: progress not written: %s", self._job.id, error.detail)
        self._heed()

    def _heed(self) -> None:
        if self._standing is Standing.LOST:
            raise LeaseLost("the lease ran out, and the job was given to another worker")
        if self._standing is Standing.CANCELED:
            raise JobCanceled("canceled on the way")

    def _beat(self) -> None:
        while not self._over.wait(self._heartbeat_s):
            try:
                self._standing = renew(self._database, self._job, time.time(), self._lease_s)
            except (StoreUnavailable, StorageFull) as error:
                logger.warning("job %s: lease not renewed: %s", self._job.id, error.detail)
