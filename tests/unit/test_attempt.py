"""One attempt at one job: whatever happens to the slide is written down, once, without its name."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepsmile.attempt import attempt_next
from deepsmile.digest import digest_of_slide
from deepsmile.errors import (
    BundleMismatch,
    InferenceUnavailable,
    JobCanceled,
    ReaderKilled,
    SlideCorrupt,
    StoreUnavailable,
)
from deepsmile.report import Report
from deepsmile.scorer import BundleScorer, Scorer, Work
from deepsmile.settings import Settings
from deepsmile.shelf import Shelf
from deepsmile.stages import Progress
from deepsmile.store.claims import claim_next
from deepsmile.store.database import Database
from deepsmile.store.jobs import cancel_job, get_job, get_report
from deepsmile.store.rows import StoredJob
from deepsmile.store.upkeep import expire_leases
from deepsmile.uploads import upload_path
from deepsmile.wire import JobState
from tests.jobs import RETRIES, FailingDatabase, accept
from tests.making import tissue_image, write_svs

PATIENT = "JANE_DOE.svs"


@pytest.fixture
def settings(tmp_path: Path, repository: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        model_repository=repository,
        allowed_roots=(tmp_path / "root",),
        encoder_threads=1,
    )


@pytest.fixture
def named(settings: Settings, slide_path: Path) -> Path:
    """A slide that the service can reach, named after a patient."""
    path = settings.allowed_roots[0] / PATIENT
    path.parent.mkdir()
    path.write_bytes(slide_path.read_bytes())
    return path


@pytest.fixture
def accept_path(database: Database, settings: Settings, named: Path) -> Callable[[], StoredJob]:
    """Makes jobs for that slide."""
    digest = Shelf(settings.model_repository).get("tiny").digest

    def make(**changes: object) -> StoredJob:
        fields = {"source": "path", "path": str(named), "slide_sha256": None, "identity": "x"}
        return accept(database, bundle_digest=digest, **{**fields, **changes})

    return make


@pytest.fixture
def leaving(database: Database, database_url: str) -> Iterator[FailingDatabase]:
    leaving = FailingDatabase(database_url, StoreUnavailable("the database does not answer"))
    yield leaving
    leaving.close()


def attempt(database: Database, scorer: Scorer, settings: Settings) -> JobState:
    """Do the next job, and say what the store says of it then."""
    job = attempt_next("w", database, scorer, settings)
    assert job is not None
    return get_job(database, job.id).state


def raises(error: Exception) -> Scorer:
    """A scorer that fails."""

    def score(_work: Work, _progress: Progress) -> Report:
        raise error

    return score


def unused(_work: Work, _progress: Progress) -> Report:
    raise AssertionError("nothing should be computed")


def test_a_slide_in_reach_is_hashed_scored_and_stored(
    database: Database, settings: Settings, accept_path: Callable[..., StoredJob]
) -> None:
    job = accept_path()
    assert attempt(database, BundleScorer(settings), settings) is JobState.COMPLETED
    stored = get_report(database, job.id)
    assert stored is not None
    report = Report.model_validate_json(stored)
    assert report.run.job_id == job.id
    assert report.slide.sha256 == get_job(database, job.id).slide_sha256
    assert report.tiles.used == 8


def test_known_bytes_are_answered_without_computing(
    database: Database, settings: Settings, accept_path: Callable[..., StoredJob]
) -> None:
    first = accept_path()
    attempt(database, BundleScorer(settings), settings)
    second = accept_path()
    assert second.id != first.id
    assert attempt(database, unused, settings) is JobState.COMPLETED
    stored = get_report(database, second.id)
    assert stored is not None
    assert Report.model_validate_json(stored).run.job_id == second.id


def test_a_slide_is_hashed_before_its_scoring_only_where_its_bytes_may_be_known(
    database: Database, settings: Settings, accept_path: Callable[..., StoredJob], named: Path
) -> None:
    pixels, scorer = named.read_bytes(), BundleScorer(settings)
    given: list[str | None] = []

    def score(work: Work, progress: Progress) -> Report:
        given.append(work.slide.sha256)
        return scorer(work, progress)

    kept = []
    for byte, fresh in ((b"a", False), (b"b", False), (b"a", True), (b"cc", False)):
        named.write_bytes(pixels + byte)
        job = accept_path(fresh=fresh)
        attempt(database, score, settings)
        kept.append(get_job(database, job.id).slide_sha256)
    digests = [hashlib.sha256(pixels + byte).hexdigest() for byte in (b"a", b"b", b"a", b"cc")]
    assert given == [None, digests[1], None, None]  # new, of a known size, fresh, of a new size
    assert kept == digests


@pytest.mark.parametrize("hashed", [False, True], ids=["path", "upload"])
def test_a_fresh_job_is_computed_although_its_bytes_are_known(
    database: Database,
    settings: Settings,
    accept_path: Callable[..., StoredJob],
    named: Path,
    hashed: bool,
) -> None:
    """Whether they were hashed with the request or not."""
    accept_path()
    attempt(database, BundleScorer(settings), settings)
    fresh = accept_path(fresh=True, slide_sha256=digest_of_slide(named) if hashed else None)
    attempt(database, raises(SlideCorrupt("computed")), settings)
    assert get_job(database, fresh.id).state is JobState.FAILED


def test_too_little_tissue_is_a_rejection_with_a_report(
    database: Database, settings: Settings, accept_path: Callable[..., StoredJob], named: Path
) -> None:
    write_svs(named, tissue_image(2100, 1600, tissue=0))
    job = accept_path()
    assert attempt(database, BundleScorer(settings), settings) is JobState.REJECTED
    after = get_job(database, job.id)
    assert after.error is not None
    assert after.error.code == "too_little_tissue"
    assert get_report(database, job.id) is not None


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (SlideCorrupt("tile 3"), JobState.FAILED, "slide_corrupt"),
        (ReaderKilled("no memory"), JobState.ACCEPTED, None),
        (InferenceUnavailable("away"), JobState.ACCEPTED, "inference_unavailable"),
        (JobCanceled("asked"), JobState.CANCELED, "job_canceled"),
        (ZeroDivisionError(f"/root/{PATIENT}"), JobState.FAILED, "internal_error"),
    ],
)
def test_an_error_becomes_the_job_s_end_or_another_try(
    database: Database,
    settings: Settings,
    accept_path: Callable[..., StoredJob],
    error: Exception,
    state: JobState,
    code: str | None,
) -> None:
    job = accept_path()
    attempt(database, raises(error), settings)
    after = get_job(database, job.id)
    assert after.state is state
    assert (after.error.code if after.error else None) == code


def test_an_outage_costs_no_attempt_and_a_job_fails_by_it_only_after_the_wait_that_was_set(
    database: Database, settings: Settings, accept_path: Callable[..., StoredJob]
) -> None:
    job, away = accept_path(), raises(InferenceUnavailable("away"))
    patient = settings.model_copy(update={"retry_pause_s": 0.0})
    states = {attempt(database, away, patient) for _ in range(2 * settings.max_attempts)}
    assert states == {JobState.ACCEPTED}
    assert get_job(database, job.id).losses == 0
    hasty = patient.model_copy(update={"inference_wait_s": 0.0})
    assert attempt(database, away, hasty) is JobState.FAILED
    failed = get_job(database, job.id)
    assert failed.error is not None
    assert failed.error.code == "inference_unavailable"
    assert "DEEPSMILE_TRITON_URL" in failed.error.hint


def test_no_error_and_no_log_names_the_slide(
    database: Database,
    settings: Settings,
    accept_path: Callable[..., StoredJob],
    named: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for error in (SlideCorrupt(f"{named}: bad"), SlideCorrupt(f"no {PATIENT}"), OSError(named)):
        job = accept_path()
        with caplog.at_level(logging.DEBUG):
            attempt(database, raises(error), settings)
        after = get_job(database, job.id)
        assert after.error is not None
        assert PATIENT not in after.error.model_dump_json()
    assert "OSError" in caplog.text
    assert "JANE" not in caplog.text


@pytest.mark.parametrize("hashed", [False, True], ids=["note", "finish"])
def test_a_score_outlives_a_database_that_is_away_when_it_is_to_be_written(
    leaving: FailingDatabase,
    settings: Settings,
    accept_path: Callable[..., StoredJob],
    named: Path,
    hashed: bool,
) -> None:
    """Its digest is to be noted first, unless it was known; then its end is to be written."""
    sha256, scorer = digest_of_slide(named), BundleScorer(settings)

    def score(work: Work, progress: Progress) -> Report:
        report = scorer(work, progress)
        leaving.fail(0.5)
        return report

    job = accept_path(slide_sha256=sha256 if hashed else None)
    assert attempt(leaving, score, settings) is JobState.COMPLETED
    after = get_job(leaving, job.id)
    assert (after.attempt, after.slide_sha256) == (1, sha256)
    assert get_report(leaving, job.id) is not None


def test_a_database_that_stays_away_ends_the_wait_with_the_lease(
    leaving: FailingDatabase, settings: Settings, accept_path: Callable[..., StoredJob]
) -> None:
    accept_path()

    def score(_work: Work, _progress: Progress) -> Report:
        leaving.fails = True
        raise SlideCorrupt("tile 3")

    hasty = settings.model_copy(update={"lease_s": 0.1})
    with pytest.raises(StoreUnavailable):
        attempt(leaving, score, hasty)


def test_a_path_that_left_the_roots_after_the_request_is_refused(
    database: Database,
    settings: Settings,
    accept_path: Callable[..., StoredJob],
    named: Path,
    tmp_path: Path,
) -> None:
    job = accept_path()
    secret = tmp_path / "secret.svs"
    named.rename(secret)
    named.symlink_to(secret)
    attempt(database, unused, settings)
    after = get_job(database, job.id)
    assert after.error is not None
    assert after.error.code == "path_not_allowed"


def test_an_upload_that_is_gone_fails_its_job(database: Database, settings: Settings) -> None:
    job = accept(database)
    attempt(database, unused, settings)
    after = get_job(database, job.id)
    assert after.error is not None
    assert after.error.code == "slide_not_found"


def test_a_bundle_replaced_since_the_request_fails_the_job(
    database: Database, settings: Settings, slide_path: Path
) -> None:
    job = accept(database, bundle_digest="0" * 64)
    settings.uploads.mkdir()
    upload_path(settings.uploads, job.id).write_bytes(slide_path.read_bytes())
    attempt(database, BundleScorer(settings), settings)
    after = get_job(database, job.id)
    assert after.error is not None
    assert after.error.code == BundleMismatch.code


def test_a_job_taken_by_another_is_left_alone(
    database: Database, settings: Settings, accept_path: Callable[..., StoredJob]
) -> None:
    job = accept_path()
    claim_next(database, "other", 0.0, 30.0)
    assert attempt_next("w", database, unused, settings) is None
    assert get_job(database, job.id).worker == "other"


def test_an_attempt_that_lost_its_lease_writes_nothing(
    database: Database, settings: Settings, accept_path: Callable[..., StoredJob]
) -> None:
    job = accept_path()

    def slow(_work: Work, progress: Progress) -> Report:
        expire_leases(database, 1e12, RETRIES)
        progress("qc", 0, 0)
        raise AssertionError("it was told to stop")

    assert attempt(database, slow, settings) is JobState.ACCEPTED
    assert get_job(database, job.id).state is JobState.ACCEPTED


def test_a_cancel_between_stages_ends_the_job(
    database: Database, settings: Settings, accept_path: Callable[..., StoredJob]
) -> None:
    job = accept_path()

    def canceled(_work: Work, progress: Progress) -> Report:
        progress("qc", 0, 0)
        cancel_job(database, job.id, 1.0)
        progress("tiling", 0, 0)
        raise AssertionError("it was told to stop")

    assert attempt(database, canceled, settings) is JobState.CANCELED
