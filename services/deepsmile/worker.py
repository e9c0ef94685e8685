"""Worker: hears the doorbell and brings jobs to their ends, one at a time.

Run one with `run_worker(settings)` or `python -m deepsmile.worker`. Its main process talks to
the broker, sweeps, and forks the process that scores; so it holds no database connection open
and starts no thread while it may fork.
"""

import logging
import os
import signal
import socket
import time
from functools import cached_property
from threading import Timer
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Task, bootsteps, signals

from deepsmile.attempt import attempt_next
from deepsmile.disk import keep_private
from deepsmile.doorbell import TASK, Doorbell, make_celery
from deepsmile.errors import StoreUnavailable
from deepsmile.logs import set_up_logs
from deepsmile.scorer import BundleScorer, MakeScorer, Scorer
from deepsmile.settings import Settings, settings_or_exit
from deepsmile.store.claims import forfeit, hand_back
from deepsmile.store.database import Database
from deepsmile.sweeper import Sweeper
from deepsmile.watch import Watch

logger = logging.getLogger("deepsmile.worker")

DEAF_S = 60.0
"""A worker that lets jobs wait this long without working stops, to be started anew."""
CHATTY = ("celery.worker.strategy", "celery.app.trace")
"""They repeat, for every job, what we log ourselves."""


class ScoreTask(Task):  # type: ignore[misc]  # Celery has no types
    """The one task; what it keeps between jobs is made in the process that scores."""

    name = TASK

    def __init__(self, settings: Settings, make_scorer: MakeScorer) -> None:
        self._settings, self._make_scorer = settings, make_scorer

    @cached_property
    def _database(self) -> Database:
        return Database(self._settings.database)

    @cached_property
    def _scorer(self) -> Scorer:
        return self._make_scorer(self._settings)

    def run(self, job_id: str) -> None:
        """Do the job whose turn it is: most often the one that was rung for."""
        worker = self.request.hostname
        if attempt_next(worker, self._database, self._scorer, self._settings) is None:
            logger.info("rung for job %s, but nobody waits", job_id)


def run_worker(settings: Settings, make_scorer: MakeScorer = BundleScorer) -> int:
    """Work until SIGTERM, finish the job at hand within `drain_s`, and return the exit code."""
    set_up_logs()
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # This process forks: it opens a connection for each transaction and keeps none.
    database = Database(settings.database, pooled=False)
    database.create()
    app = make_celery(settings)
    app.register_task(ScoreTask(settings, make_scorer))
    name = f"{os.getpid()}@{socket.gethostname()}"
    sweeper, watch = Sweeper(database, Doorbell(app), settings), Watch(database, name, DEAF_S)
    app.steps["worker"].add(_sweeping(sweeper, watch, settings.sweep_s))
    _connect_signals(database, name, settings.drain_s)
    worker = app.Worker(
        hostname=name,
        loglevel=logging.INFO,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    handed_back = hand_back(database, name, time.time())
    if handed_back:
        sweeper.announce()
    return int(worker.exitcode or 0)


def _connect_signals(database: Database, name: str, drain_s: float) -> None:
    """What Celery tells its main process, and what we make of it."""

    def on_lost_process(exception: Exception, **_: object) -> None:
        if isinstance(exception, WorkerLostError | TimeLimitExceeded):
            forfeit(database, name)

    def on_stopping(how: str, **_: object) -> None:
        if how == "Warm":
            patience = Timer(drain_s, os.kill, (os.getpid(), signal.SIGQUIT))
            patience.daemon = True
            patience.start()

    signals.task_failure.connect(on_lost_process, weak=False)
    signals.worker_shutting_down.connect(on_stopping, weak=False)


def _sweeping(sweeper: Sweeper, watch: Watch, every_s: float) -> type[bootsteps.StartStopStep]:
    """A step of Celery's main process that sweeps by its timer, between its other events."""

    def sweep() -> None:
        sweeper.sweep()
        try:
            is_deaf = watch.is_deaf(time.time())
        except StoreUnavailable:  # the sweeper has said so
            return
        if is_deaf:
            logger.critical("jobs wait, and no message came for %g s: stopping", DEAF_S)
            os.kill(os.getpid(), signal.SIGTERM)

    class Sweeping(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
        requires = ("celery.worker.components:Timer",)

        def start(self, worker: Any) -> None:  # noqa: ANN401
            worker.timer.call_repeatedly(every_s, sweep)

    return Sweeping


def main() -> None:
    """Entry of `python -m deepsmile.worker`."""
    settings = settings_or_exit()
    keep_private()
    raise SystemExit(run_worker(settings))


if __name__ == "__main__":
    main()
