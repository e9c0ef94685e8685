"""`deepsmile up`: one command, one Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deepsmile.client import Client
from deepsmile.report import Report, Scored, differences
from deepsmile.settings import Settings
from deepsmile.wire import JobState
from tests.making import tissue_image, write_svs
from tests.service import free_port, wait_until

pytestmark = pytest.mark.slow

DEEPSMILE = str(Path(sys.executable).parent / "deepsmile")


class Up:
    """A running `deepsmile up`."""

    def __init__(self, folder: Path, repository: Path, *arguments: str, **changes: Any) -> None:
        self.settings = Settings(
            data_dir=folder / "data",
            model_repository=repository,
            default_bundle="tiny",
            port=free_port(),
            lease_s=3,
            heartbeat_s=1,
            sweep_s=0.5,
            **changes,
        )
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.environment = {**os.environ, **self.settings.environment()}
        self.log = folder / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [DEEPSMILE, "up", *arguments],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def is_ready(self) -> bool:
        return "is ready at" in self.log.read_text()

    def children(self, module: str) -> list[psutil.Process]:
        """The processes of ours that run `module`."""
        everything = psutil.Process(self.process.pid).children()
        return [child for child in everything if is_alive(child) and module in child.cmdline()]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DEEPSMILE, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def up(tmp_path: Path, repository: Path) -> Iterator[Up]:
    running = Up(tmp_path, repository)
    wait_until(lambda: running.is_ready, 40)
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGINT)
        running.process.wait(40)


def test_predict_then_replay_then_one_interrupt_stops_everything(
    up: Up, slide_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    predicted = up.run("predict", str(slide_path), "--url", up.url, "--out", str(out))
    assert predicted.returncode == 0, predicted.stderr
    assert "Research use only" in predicted.stdout
    replayed = up.run("replay", str(out), str(slide_path))
    assert replayed.returncode == 0, replayed.stdout
    started = psutil.Process(up.process.pid).children(recursive=True)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(40) == 0
    assert [process for process in started if is_alive(process)] == []


def test_api_and_command_line_give_the_same_report(
    up: Up, slide_path: Path, tmp_path: Path
) -> None:
    scored = up.run("score", str(slide_path), "--json")
    with Client(up.url) as client:
        job = client.wait(client.predict(slide_path).id, timeout_s=60)
    assert job.result is not None
    assert differences(Report.model_validate_json(scored.stdout), job.result) == []


def test_a_worker_and_a_broker_that_die_are_started_again_and_the_next_job_succeeds(
    up: Up, slide_path: Path
) -> None:
    (worker,) = up.children("deepsmile.worker")
    worker.kill()
    broker = next(p for p in psutil.Process(up.process.pid).children() if "valkey" in p.name())
    broker.kill()
    wait_until(lambda: up.children("deepsmile.worker") not in ([], [worker]), 20)
    with Client(up.url) as client:
        job = client.wait(client.predict(slide_path).id, timeout_s=60)
    assert job.result is not None
    assert isinstance(job.result.heads[0], Scored)


def test_an_interrupt_lets_the_slide_at_hand_finish(up: Up, tmp_path: Path) -> None:
    slide = write_svs(tmp_path / "big.svs", tissue_image(6000, 6000, tissue=0.95))
    with Client(up.url) as client:
        job = client.predict(slide)
        wait_until(lambda: client.job(job.id).started_at, 20, every_s=0.01)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    after = Up(tmp_path, up.settings.model_repository)
    try:
        wait_until(lambda: after.is_ready, 40)
        with Client(after.url) as client:
            finished = client.job(job.id)
        assert (finished.state, finished.attempt) == (JobState.COMPLETED, 1)
    finally:
        after.process.send_signal(signal.SIGINT)
        after.process.wait(40)


def test_a_default_bundle_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    started = time.monotonic()
    broken = Up(tmp_path, tmp_path)
    assert broken.process.wait(20) == 1
    assert "bundle_unknown" in broken.log.read_text()
    assert time.monotonic() - started < 15


def test_a_terminal_that_is_closed_stops_everything(up: Up) -> None:
    started = psutil.Process(up.process.pid).children(recursive=True)
    for _ in range(2):  # from the shell, and from the kernel
        up.process.send_signal(signal.SIGHUP)
    assert up.process.wait(40) == 0
    assert [process for process in started if is_alive(process)] == []


def test_killed_it_leaves_nothing_behind_and_starts_again(up: Up, tmp_path: Path) -> None:
    started = psutil.Process(up.process.pid).children(recursive=True)
    assert {"deepsmile.api", "deepsmile.worker"} <= {part for p in started for part in p.cmdline()}
    assert any("valkey" in process.name() for process in started)
    up.process.kill()
    up.process.wait()
    again = Up(tmp_path, up.settings.model_repository)
    try:
        wait_until(lambda: again.is_ready, 40)
        wait_until(lambda: not any(map(is_alive, started)), 20)
    finally:
        again.process.send_signal(signal.SIGINT)
        again.process.wait(40)


def test_a_second_one_on_the_same_folder_or_port_is_told_so(up: Up, tmp_path: Path) -> None:
    same_folder = up.run("up", "--port", str(free_port()))
    assert same_folder.returncode == 1
    assert "another `deepsmile up` uses the data directory" in same_folder.stderr
    same_port = up.run("up", "--data-dir", str(tmp_path / "other"))
    assert same_port.returncode == 1
    told = f"request_invalid: cannot listen on port {up.settings.port} of 127.0.0.1"
    assert same_port.stderr.startswith(told)
    assert "--port" in same_port.stderr
    for refused in (same_folder, same_port):
        assert "Traceback" not in refused.stderr
        assert "is ready" not in refused.stdout


def test_slides_results_and_logs_are_their_owner_s_alone(up: Up, slide_path: Path) -> None:
    with Client(up.url) as client:
        client.wait(client.predict(slide_path).id, timeout_s=60)
    found = {path: path.lstat().st_mode for path in up.settings.data_dir.rglob("*")}
    assert {".slide", ".npz", ".sqlite", ".log"} <= {path.suffix for path in found}
    assert [path for path, mode in found.items() if mode & 0o077] == []
