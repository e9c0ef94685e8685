"""Sweeper: brings every accepted job to an end, whatever died on the way.

Any number of them may run at once: rows are taken by atomic updates. It rings for jobs that
nobody announced or whose message the broker lost, takes jobs from silent workers, and deletes
files that no job needs.
"""

import logging
import shutil
import time
from collections.abc import Callable
from math import inf
from pathlib import Path

from deepsmile.disk import PARTIAL
from deepsmile.doorbell import Doorbell
from deepsmile.errors import BrokerUnavailable, DeepSmileError
from deepsmile.kept import left_behind
from deepsmile.settings import Settings
from deepsmile.store.claims import Retries
from deepsmile.store.database import Database
from deepsmile.store.upkeep import (
    count_announced,
    ends_of,
    expire_leases,
    take_overdue,
    take_unannounced,
    unannounce,
)
from deepsmile.uploads import SLIDE

logger = logging.getLogger(__name__)

AT_ONCE = 200
"""Jobs to ring for in one go."""
OVERDUE_SWEEPS = 3
"""A job that waits longer than this many sweeps while messages are missing is rung for again."""
ORPHAN_S = 3600.0
"""Age at which a file that belongs to no job is dead; an upload is written to all the time."""
COLLECT_EVERY_S = 60.0


class Sweeper:
    """Sweeps whenever its owner says so; what cannot be done now is left for the next time."""

    def __init__(self, database: Database, doorbell: Doorbell, settings: Settings) -> None:
        self._database, self._doorbell, self._settings = database, doorbell, settings
        self._collected_at = 0.0

    def sweep(self) -> None:
        """Everything; files only now and then."""
        now = time.time()
        _attempt(lambda: sweep_once(self._database, self._doorbell, self._settings, now))
        if now - self._collected_at > COLLECT_EVERY_S:
            self._collected_at = now
            _attempt(lambda: collect_garbage(self._database, self._settings, now))

    def announce(self) -> None:
        """Ring for new jobs only."""
        _attempt(lambda: announce(self._database, self._doorbell, time.time()))


def _attempt(step: Callable[[], None]) -> None:
    try:
        step()
    except DeepSmileError as error:
        logger.warning("put off: %s: %s", error.code, error.detail)


def sweep_once(database: Database, doorbell: Doorbell, settings: Settings, now: float) -> None:
    """Expired leases first, then the doorbell.

    Raises:
        BrokerUnavailable, StoreUnavailable: the rest is left for the next sweep.
    """
    retries = Retries(settings.max_attempts, settings.retry_pause_s)
    for job in expire_leases(database, now, retries):
        logger.warning("job %s lost its worker %s; now %s", job.id, job.worker, job.state)
    announce(database, doorbell, now)
    _announce_lost(database, doorbell, now, now - OVERDUE_SWEEPS * settings.sweep_s)


def announce(database: Database, doorbell: Doorbell, now: float) -> None:
    """Ring for every job that nobody rang for yet."""
    while job_ids := take_unannounced(database, now, AT_ONCE):
        _ring(database, doorbell, job_ids)


def _announce_lost(database: Database, doorbell: Doorbell, now: float, since: float) -> None:
    """Ring again for as many jobs as the broker has messages too few, the longest waiting first.

    So a long queue is not rung for over and over, and a broker that forgot everything is.
    """
    missing = count_announced(database) - doorbell.count()
    if missing > 0:
        _ring(database, doorbell, take_overdue(database, now, since, min(missing, AT_ONCE)))


def _ring(database: Database, doorbell: Doorbell, job_ids: list[str]) -> None:
    try:
        doorbell.ring(job_ids)
    except BrokerUnavailable:
        unannounce(database, job_ids)
        raise


def collect_garbage(database: Database, settings: Settings, now: float) -> None:
    """Delete the uploads of jobs that ended a while ago, and files that died half-way."""
    slides = list(settings.uploads.glob(f"*{SLIDE}"))
    ends = ends_of(database, [path.stem for path in slides])
    for path in slides:
        # A file of no job, yet, counts as ended a while after it came.
        ended = ends.get(path.stem, _modified(path) + ORPHAN_S)
        if ended < now - settings.keep_uploads_s:
            path.unlink(missing_ok=True)
    for path in (*settings.uploads.glob(f"*{PARTIAL}"), *left_behind(settings.features)):
        if _modified(path) < now - ORPHAN_S:
            path.unlink(missing_ok=True)
    for path in settings.scratch.glob("*"):
        # No job lives longer than its limit, so neither does its scratch folder.
        if _modified(path) < now - settings.job_limit_s - ORPHAN_S:
            shutil.rmtree(path, ignore_errors=True)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another sweeper was faster
        return inf
