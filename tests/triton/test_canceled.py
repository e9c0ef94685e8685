"""A job that is canceled while its server is away: its worker stops, and takes the next."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from deepsmile.attempt import attempt_next
from deepsmile.bundle import Bundle
from deepsmile.errors import JobCanceled
from deepsmile.scorer import BundleScorer
from deepsmile.settings import Settings
from deepsmile.stages import Repeated
from deepsmile.store.database import Database
from deepsmile.store.jobs import cancel_job, get_job, list_events
from deepsmile.triton.server import Ports, TritonServer
from deepsmile.uploads import upload_path
from deepsmile.wire import JobState
from tests.jobs import accept
from tests.service import wait_until

SECONDS = 10.0
"""The API says that a worker stops within seconds; the server is waited for a minute."""


def settings_of(url: str, bundle: Bundle, folder: Path) -> Settings:
    return Settings(
        data_dir=folder, model_repository=bundle.root, triton_url=url, triton_patience_s=60
    )


def cancel_on_the_way(database: Database, settings: Settings, job_id: str, at: JobState) -> float:
    """Seconds from the wish to the end of the attempt, which begins now."""
    working = threading.Thread(
        target=attempt_next, args=("w", database, BundleScorer(settings), settings)
    )
    working.start()
    wait_until(lambda: get_job(database, job_id).state is at)
    time.sleep(0.5)
    asked = time.monotonic()
    cancel_job(database, job_id, time.time())
    working.join()
    return time.monotonic() - asked


def test_a_job_whose_server_is_away_is_canceled_within_seconds(
    bundle: Bundle, database: Database, tmp_path: Path, slide_path: Path
) -> None:
    settings = settings_of(f"127.0.0.1:{Ports.free().grpc}", bundle, tmp_path / "data")
    job = accept(database, bundle_digest=bundle.digest)
    settings.uploads.mkdir(parents=True)
    shutil.copy(slide_path, upload_path(settings.uploads, job.id))
    took_s = cancel_on_the_way(database, settings, job.id, JobState.FETCHING)
    assert get_job(database, job.id).state is JobState.CANCELED
    assert took_s < SECONDS


@pytest.mark.slow
def test_so_is_one_whose_server_dies_in_the_middle_of_a_slide(
    own: TritonServer, bundle: Bundle, database: Database, tmp_path: Path, big_slide: Path
) -> None:
    """All its requests in flight wait, and the stage stays what it was."""
    settings = settings_of(own.url, bundle, tmp_path / "data")
    job = accept(database, bundle_digest=bundle.digest)
    settings.uploads.mkdir(parents=True)
    shutil.copy(big_slide, upload_path(settings.uploads, job.id))
    scorer, killed_at = BundleScorer(settings), []

    def die(work, progress):  # type: ignore[no-untyped-def]
        def heard(stage: str, done: int, total: int) -> None:
            if stage == "encoding" and done > 0 and not killed_at:
                own.kill()
                killed_at.append(time.monotonic())
                threading.Timer(1.0, cancel_job, (database, job.id, time.time())).start()
            progress(stage, done, total)

        return scorer(work, heard)

    attempt_next("w", database, die, settings)
    assert time.monotonic() - killed_at[0] < SECONDS
    assert get_job(database, job.id).state is JobState.CANCELED
    states = [event.state for event in list_events(database, job.id, 0) if event.kind == "state"]
    assert states[-2:] == [JobState.ENCODING, JobState.CANCELED]


def test_the_last_progress_is_what_is_said_again() -> None:
    told: list[tuple[str, int, int]] = []

    def hear(*progress: object) -> None:
        told.append(progress)  # type: ignore[arg-type]
        if len(told) == 4:
            raise JobCanceled("on the way")

    progress = Repeated(hear, "fetching")
    progress.again()
    progress("encoding", 3, 9)
    progress.again()
    with pytest.raises(JobCanceled):
        progress.again()
    assert told == [("fetching", 0, 0), *[("encoding", 3, 9)] * 3]
