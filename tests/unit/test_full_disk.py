"""A full disk: said by its code wherever it is met, and no work that was done is lost."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from errno import EACCES, EDQUOT, EFBIG, ENOSPC
from pathlib import Path

import pytest

from deepsmile.api.app import create_app
from deepsmile.attempt import attempt_next
from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.digest import digest_of_slide
from deepsmile.disk import needing_room
from deepsmile.errors import StorageFull
from deepsmile.kept import KeptFeatures
from deepsmile.lease import Lease
from deepsmile.pipeline import SlideSource, extract
from deepsmile.reading import Reader, ReaderLimits
from deepsmile.report import Report
from deepsmile.scorer import BundleScorer, Work
from deepsmile.settings import Settings
from deepsmile.shelf import Shelf
from deepsmile.stages import Progress
from deepsmile.store.claims import claim_next
from deepsmile.store.database import Database
from deepsmile.store.jobs import get_job, get_report
from deepsmile.uploads import Upload, UploadLimits
from deepsmile.wire import JobState
from tests.api.conftest import RAW, post_to
from tests.jobs import FailingDatabase, accept
from tests.readers import CONTRACT
from tests.service import wait_until


@pytest.fixture
def filling(database: Database, database_url: str) -> Iterator[FailingDatabase]:
    filling = FailingDatabase(database_url, StorageFull("the database has no room left"))
    yield filling
    filling.close()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A disk in which nothing more can be made."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("errno", [ENOSPC, EDQUOT, EFBIG])
def test_an_error_for_want_of_room_is_storage_full(errno: int) -> None:
    with pytest.raises(StorageFull), needing_room():
        raise OSError(errno, "no room")


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(PermissionError), needing_room():
        raise OSError(EACCES, "not yours")


def test_a_score_outlives_a_database_that_is_full_when_it_is_to_be_written(
    filling: FailingDatabase, tmp_path: Path, repository: Path, slide_path: Path
) -> None:
    """Full from the last tile on: progress, digest and report all have to wait, and do."""
    settings = Settings(
        data_dir=tmp_path, model_repository=repository, allowed_roots=(slide_path.parent,)
    )
    scorer, scored = BundleScorer(settings), []

    def score(work: Work, progress: Progress) -> Report:
        scored.append(work.job_id)
        report = scorer(work, progress)
        filling.fail(1.5)
        return report

    digest = Shelf(repository).get("tiny").digest
    named = {"source": "path", "path": str(slide_path), "slide_sha256": None, "identity": "x"}
    job = accept(filling, bundle_digest=digest, **named)
    attempt_next("w", filling, score, settings)
    after = get_job(filling, job.id)
    assert (after.state, after.attempt) == (JobState.COMPLETED, 1)
    assert after.slide_sha256 == digest_of_slide(slide_path)
    assert get_report(filling, job.id) is not None
    assert scored == [job.id]


def test_the_heart_beats_on_after_the_database_was_full(filling: FailingDatabase) -> None:
    accept(filling)
    job = claim_next(filling, "w", time.time(), 30.0)
    assert job is not None
    with Lease(filling, job, lease_s=60.0, heartbeat_s=0.02) as lease:
        filling.fail(0.3)
        time.sleep(0.1)  # some beats that fail
        lease.progress("encoding", 1, 9)
        wait_until(lambda: (get_job(filling, job.id).lease_until or 0) > (job.lease_until or 0), 5)


def test_an_upload_without_room_for_its_file_is_storage_full(full: Path) -> None:
    async def go() -> None:
        async with Upload(full / "uploads", "job", UploadLimits(1 << 30, 0)):
            raise AssertionError("it has no file")

    with pytest.raises(StorageFull):
        asyncio.run(go())


def test_an_upload_to_a_full_disk_is_507(full: Path, tmp_path: Path, repository: Path) -> None:
    settings = Settings(
        data_dir=full,
        database_url=f"sqlite:///{tmp_path / 'jobs.sqlite'}",
        model_repository=repository,
        default_bundle="tiny",
        broker_url="redis://127.0.0.1:1/0",
        disk_reserve_bytes=0,
    )
    answer = post_to(create_app(settings), content=b"slide", headers=RAW)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")


def test_a_reader_without_room_for_its_scratch_is_storage_full(
    full: Path, slide_path: Path
) -> None:
    reader = Reader(ReaderLimits(full / "scratch", 4 << 30, 60, 30.0), batch=4)
    with pytest.raises(StorageFull):
        next(reader.read(slide_path, CONTRACT))


def test_features_that_no_folder_can_be_made_for_stop_nobody(
    slide_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    source = SlideSource(slide_path, digest_of_slide(slide_path))
    extraction = extract(source, bundle.contract.features, backend, reader)
    kept = KeptFeatures(Path("/proc/deepsmile"), 1 << 30, 0)
    kept.keep(source, extraction, "x")
    assert kept.find(source, bundle.contract.features, "x") is None
