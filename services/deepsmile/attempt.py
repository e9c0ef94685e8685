"""Attempt: one worker's try at one job, from the claim to the end that it writes."""

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from deepsmile.digest import digest_of_slide
from deepsmile.errors import (
    DeepSmileError,
    InferenceUnavailable,
    InternalError,
    JobCanceled,
    LeaseLost,
    SlideNotFound,
    StorageFull,
    StoreUnavailable,
)
from deepsmile.lease import Lease
from deepsmile.parts import parts_of
from deepsmile.pipeline import SlideSource
from deepsmile.report import Report
from deepsmile.roots import resolve_path
from deepsmile.scorer import Scorer, Work
from deepsmile.settings import Settings
from deepsmile.store.claims import (
    Outcome,
    Retries,
    answered_twin,
    claim_next,
    finish,
    note_slide,
    size_is_known,
    try_again,
    wait_for_inference,
)
from deepsmile.store.database import Database
from deepsmile.store.jobs import get_report
from deepsmile.store.rows import StoredJob
from deepsmile.uploads import upload_path
from deepsmile.wire import Fault, JobState

logger = logging.getLogger(__name__)

STORE_RETRY_S = 1.0
Written = TypeVar("Written")


def attempt_next(
    worker: str, database: Database, scorer: Scorer, settings: Settings
) -> StoredJob | None:
    """Do the job whose turn it is; None: nobody waits.

    Whatever happens to the slide is an outcome; only a database that stays away, or full, raises.
    """
    job = claim_next(database, worker, time.time(), settings.lease_s)
    if job is None:
        return None
    with Lease(database, job, settings.lease_s, settings.heartbeat_s) as lease:
        try:
            outcome = _outcome(job, lease, database, scorer, settings)
            held = _insist(lambda: _write_end(database, job, outcome, settings), settings)
        except LeaseLost:
            held = False
    if held:
        logger.info("job %s: attempt %d %s", job.id, job.attempt, outcome.state)
    else:
        logger.warning("job %s: attempt %d lost its lease", job.id, job.attempt)
    return job


def _outcome(
    job: StoredJob, lease: Lease, database: Database, scorer: Scorer, settings: Settings
) -> Outcome:
    """The task edge: every error ends here as an outcome, without the name of the slide."""
    try:
        path = _locate(job, settings)
        job = _identify(job, path, lease, database)
        report = _known_report(job, database)
        if report is None:
            slide = SlideSource(path, job.slide_sha256, job.mpp)
            work = Work(job.id, slide, job.bundle_name, job.bundle_digest, job.fresh)
            report = scorer(work, lease.progress)
            if job.slide_sha256 is None:
                sha256 = report.slide.sha256
                _insist(lambda: _note(job, path, sha256, database), settings)
        lease.progress(JobState.STORING, 0, 0)
        return _answer(report)
    except LeaseLost:
        raise
    except JobCanceled as error:
        return Outcome(JobState.CANCELED, Fault.of(error))
    except DeepSmileError as error:
        return Outcome(JobState.FAILED, _nameless(Fault.of(error), job))
    except Exception as error:  # noqa: BLE001 - the task edge
        kind, frames = type(error).__name__, traceback.format_tb(error.__traceback__)
        # Not its message: that may name the file.
        logger.error("job %s: %s\n%s", job.id, kind, "".join(frames))
        return Outcome(JobState.FAILED, Fault.of(InternalError(f"{kind} while scoring")))


def _locate(job: StoredJob, settings: Settings) -> Path:
    """Where the slide is now, checked again: links may have changed since the request."""
    if job.path is not None:
        return resolve_path(job.path, settings.allowed_roots)
    path = upload_path(settings.uploads, job.id)
    if not path.is_file():
        raise SlideNotFound("the upload is gone")
    return path


def _identify(job: StoredJob, path: Path, lease: Lease, database: Database) -> StoredJob:
    """The job with the digest of its slide's bytes, if they may have been seen before.

    All others are hashed beside their scoring; whoever cancels does not wait for either.
    """
    if job.slide_sha256 is not None or job.fresh or not size_is_known(database, _size(path)):
        return job
    sha256 = digest_of_slide(path, lambda: lease.progress(JobState.FETCHING, 0, 0))
    return _note(job, path, sha256, database)


def _size(path: Path) -> int:
    return sum(part.stat().st_size for part in parts_of(path).values())


def _note(job: StoredJob, path: Path, sha256: str, database: Database) -> StoredJob:
    noted = note_slide(database, job, sha256, _size(path))
    if noted is None:
        raise LeaseLost("the lease ran out before the digest of the slide was noted")
    return noted


def _known_report(job: StoredJob, database: Database) -> Report | None:
    """The report of a job that answered for the same bytes, bundle and mpp, as this job's own."""
    twin = answered_twin(database, job)
    stored = get_report(database, twin.id) if twin else None
    if stored is None:
        return None
    report = Report.model_validate_json(stored)
    return report.model_copy(update={"run": report.run.model_copy(update={"job_id": job.id})})


def _answer(report: Report) -> Outcome:
    why = report.abstention
    return Outcome(
        state=JobState.REJECTED if why else JobState.COMPLETED,
        fault=Fault(**why.model_dump(), retryable=False) if why else None,
        report=report.model_dump_json(),
        tiles=report.tiles.used,
        seconds=report.run.timings_s.get("total"),
    )


def _nameless(fault: Fault, job: StoredJob) -> Fault:
    if job.path is None:
        return fault
    detail = fault.detail.replace(job.path, "the slide").replace(Path(job.path).name, "the slide")
    return fault.model_copy(update={"detail": detail})


def _insist(write: Callable[[], Written], settings: Settings) -> Written:
    """Write what the work has come to, and keep trying while the lease would have lasted."""
    deadline = time.monotonic() + settings.lease_s
    while True:
        try:
            return write()
        except (StoreUnavailable, StorageFull):
            if time.monotonic() > deadline:
                raise
            time.sleep(STORE_RETRY_S)


def _write_end(database: Database, job: StoredJob, outcome: Outcome, settings: Settings) -> bool:
    fault, now, pause_s = outcome.fault, time.time(), settings.retry_pause_s
    if fault is None or not fault.retryable:
        return finish(database, job, outcome, now)
    if fault.code == InferenceUnavailable.code:
        limit_s = settings.inference_wait_s
        return wait_for_inference(database, job, fault, now, pause_s=pause_s, limit_s=limit_s)
    return try_again(database, job, fault, now, Retries(settings.max_attempts, pause_s))
