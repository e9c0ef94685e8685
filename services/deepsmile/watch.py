"""Watch: notices a worker that has gone deaf: jobs wait, it is idle, and it takes none.

Clients of brokers have fallen silent after lost connections, alive to every other check.
"""

from sqlalchemy import exists, func, select

from deepsmile.store.changes import is_due
from deepsmile.store.database import Database
from deepsmile.store.schema import JOBS
from deepsmile.wire import RUNNING


class Watch:
    """Look at one worker now and then."""

    def __init__(self, database: Database, worker: str, patience_s: float) -> None:
        self._database, self._worker, self._patience_s = database, worker, patience_s
        self._last_claim: float | None = None
        self._idle_since: float | None = None

    def is_deaf(self, now: float) -> bool:
        """Whether jobs have waited, and the worker been idle, at every look for too long.

        Raises:
            StoreUnavailable.
        """
        last_claim, waits, works = self._look(now)
        if not waits or works or last_claim != self._last_claim:
            self._last_claim, self._idle_since = last_claim, None
            return False
        self._idle_since = now if self._idle_since is None else self._idle_since
        return now - self._idle_since > self._patience_s

    def _look(self, now: float) -> tuple[float | None, bool, bool]:
        mine = JOBS.c.worker == self._worker
        waiting = is_due(now) & JOBS.c.announced_at.is_not(None)
        question = select(
            select(func.max(JOBS.c.started_at)).where(mine).scalar_subquery(),
            exists().where(waiting),
            exists().where(mine & JOBS.c.state.in_(RUNNING)),
        )
        with self._database.read() as connection:
            last_claim, waits, works = connection.execute(question).one()
        return last_claim, bool(waits), bool(works)
