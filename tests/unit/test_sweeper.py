"""The sweeper: every job is rung for until somebody takes it up, and files go when they may."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepsmile.doorbell import QUEUE, Doorbell, make_celery
from deepsmile.errors import BrokerUnavailable
from deepsmile.settings import Settings
from deepsmile.store.claims import Outcome, claim_next, finish
from deepsmile.store.database import Database
from deepsmile.store.jobs import cancel_job, get_job
from deepsmile.sweeper import Sweeper, announce, collect_garbage, sweep_once
from deepsmile.wire import JobState
from tests.jobs import accept

NOW = 1000.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A broker in memory; sweeps every 5 s, so overdue after 15."""
    return Settings(data_dir=tmp_path).model_copy(update={"broker_url": "memory://"})


@pytest.fixture
def doorbell(settings: Settings) -> Iterator[Doorbell]:
    doorbell = Doorbell(make_celery(settings))
    clear(settings)
    yield doorbell
    doorbell.close()


def clear(settings: Settings) -> None:
    """Make the broker forget all messages."""
    with make_celery(settings).connection() as connection:
        connection.default_channel.queue_declare(QUEUE)
        connection.default_channel.queue_purge(QUEUE)


def first(settings: Settings) -> list[object]:
    """The arguments in the next message."""
    with make_celery(settings).connection() as connection:
        message = connection.default_channel.basic_get(QUEUE, no_ack=True)
    arguments, keywords, _ = message.decode()
    return [*arguments, *keywords.values()]


@pytest.fixture
def broken() -> Iterator[Doorbell]:
    """Nobody listens on port 1."""
    doorbell = Doorbell(make_celery(Settings(broker_url="redis://127.0.0.1:1/0")))
    yield doorbell
    doorbell.close()


def test_a_message_holds_the_id_of_the_job_and_nothing_else(
    doorbell: Doorbell, settings: Settings
) -> None:
    doorbell.ring(["a" * 32])
    assert first(settings) == ["a" * 32]


def test_every_new_job_is_rung_for_once(
    database: Database, doorbell: Doorbell, settings: Settings
) -> None:
    for _ in range(3):
        accept(database)
    sweep_once(database, doorbell, settings, NOW)
    sweep_once(database, doorbell, settings, NOW + 1)
    assert doorbell.count() == 3


def test_a_long_queue_is_not_rung_for_again(
    database: Database, doorbell: Doorbell, settings: Settings
) -> None:
    for _ in range(3):
        accept(database)
    for later in range(0, 3600, 60):
        sweep_once(database, doorbell, settings, NOW + later)
    assert doorbell.count() == 3


def test_a_broker_that_forgot_its_messages_gets_them_again(
    database: Database, doorbell: Doorbell, settings: Settings
) -> None:
    for _ in range(3):
        accept(database)
    sweep_once(database, doorbell, settings, NOW)
    clear(settings)
    sweep_once(database, doorbell, settings, NOW + 14)
    assert doorbell.count() == 0
    sweep_once(database, doorbell, settings, NOW + 16)
    assert doorbell.count() == 3


def test_of_missing_messages_only_as_many_are_sent_again(
    database: Database, doorbell: Doorbell, settings: Settings
) -> None:
    lost = accept(database)
    announce(database, doorbell, NOW)
    clear(settings)
    accept(database)
    announce(database, doorbell, NOW)
    sweep_once(database, doorbell, settings, NOW + 16)
    assert doorbell.count() == 2
    assert get_job(database, lost.id).announced_at == NOW + 16


def test_a_job_of_a_silent_worker_is_rung_for_in_the_same_sweep(
    database: Database, doorbell: Doorbell, settings: Settings
) -> None:
    job = accept(database)
    claim_next(database, "w", NOW, 30.0)
    sweep_once(database, doorbell, settings, NOW + 31)
    assert first(settings) == [job.id]


def test_without_a_broker_jobs_stay_in_the_outbox(
    database: Database, doorbell: Doorbell, broken: Doorbell, settings: Settings
) -> None:
    accept(database)
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        announce(database, broken, NOW)
    assert time.monotonic() - started < 1
    announce(database, doorbell, NOW + 1)
    assert doorbell.count() == 1


def test_a_sweep_that_cannot_be_done_is_put_off_and_says_so(
    database: Database, broken: Doorbell, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    accept(database)
    with caplog.at_level(logging.WARNING):
        Sweeper(database, broken, settings).sweep()
    assert "broker_unavailable" in caplog.text


def upload_of(settings: Settings, job_id: str, age_s: float = 0.0) -> Path:
    """An upload that came `age_s` before NOW."""
    settings.uploads.mkdir(exist_ok=True)
    path = settings.uploads / f"{job_id}.slide"
    path.write_bytes(b"slide")
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def test_an_upload_outlives_its_job_by_the_time_to_keep(
    database: Database, settings: Settings
) -> None:
    job = accept(database)
    upload = upload_of(settings, job.id, age_s=1e6)
    collect_garbage(database, settings, NOW)
    assert upload.exists(), "the job still waits"
    cancel_job(database, job.id, NOW)
    collect_garbage(database, settings, NOW + settings.keep_uploads_s - 1)
    assert upload.exists(), "somebody may want to look at it"
    collect_garbage(database, settings, NOW + settings.keep_uploads_s + 1)
    assert not upload.exists()


def test_an_upload_is_never_taken_from_under_a_running_job(
    database: Database, settings: Settings
) -> None:
    eager = settings.model_copy(update={"keep_uploads_s": 0.0})
    job = accept(database)
    upload = upload_of(eager, job.id, age_s=1e6)
    claimed = claim_next(database, "w", NOW, 30.0)
    assert claimed is not None
    collect_garbage(database, eager, NOW + 1e6)
    assert upload.exists()
    finish(database, claimed, Outcome(JobState.COMPLETED), NOW + 1)
    collect_garbage(database, eager, NOW + 2)
    assert not upload.exists()


def test_an_upload_that_is_not_a_job_yet_is_left_alone(
    database: Database, settings: Settings
) -> None:
    eager = settings.model_copy(update={"keep_uploads_s": 0.0})
    upload = upload_of(eager, "f" * 32)
    collect_garbage(database, eager, NOW + 60)
    assert upload.exists()
    collect_garbage(database, eager, NOW + 2 * 3600)
    assert not upload.exists()


def test_what_killed_workers_left_among_the_features_is_deleted(
    database: Database, settings: Settings
) -> None:
    """And a bag with its facts is not, nor what another worker writes this moment."""
    settings.features.mkdir()
    whole = [settings.features / name for name in ("a.npz", "a.json")]
    left = [settings.features / name for name in (".0123.partial", "b.json")]
    for path in (*whole, *left):
        path.write_bytes(b"x")
    collect_garbage(database, settings, time.time())
    assert all(path.exists() for path in left)
    collect_garbage(database, settings, time.time() + 2 * 3600)
    assert sorted(settings.features.iterdir()) == sorted(whole)


def test_dead_partial_uploads_and_scratch_folders_are_deleted(
    database: Database, settings: Settings
) -> None:
    settings.uploads.mkdir()
    partial = settings.uploads / "x.partial"
    partial.write_bytes(b"x")
    scratch = settings.scratch / "tmp123"
    scratch.mkdir(parents=True)
    (scratch / "unpacked").write_bytes(b"x")
    collect_garbage(database, settings, time.time())
    assert partial.exists()
    assert scratch.exists()
    collect_garbage(database, settings, time.time() + settings.job_limit_s)
    assert not partial.exists()
    assert scratch.exists()  # a job may still be reading there
    collect_garbage(database, settings, time.time() + settings.job_limit_s + 2 * 3600)
    assert not scratch.exists()
