"""A table that is stopped or killed: nothing of it lives on, and what is done is kept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deepsmile_training.prepared.prepared import Prepared

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
ENDLESS = ("--epochs", "1000000", "--extractor", "SimCLR", "--label", "hrd")


def start(prepared: Prepared, out: Path, workers: int) -> subprocess.Popen[str]:
    given = (str(prepared.root), *ENDLESS, "--workers", str(workers), "--out", str(out))
    return subprocess.Popen(
        [str(BIN / "deepsmile-train"), "table", "heads", *given],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_cells(running: subprocess.Popen[str], out: Path, count: int) -> None:
    """As many have begun."""
    deadline = time.monotonic() + 120
    while len(list(out.glob("cells/*"))) < count:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("workers", "number", "to_all", "code"),
    [
        pytest.param(2, signal.SIGKILL, False, -9, id="killed"),
        pytest.param(2, signal.SIGTERM, False, 143, id="told to end"),
        pytest.param(2, signal.SIGINT, True, 130, id="Ctrl-C, which a terminal sends to all"),
        pytest.param(1, signal.SIGTERM, False, 143, id="alone"),
    ],
)
def test_no_worker_outlives_its_table(
    prepared: Prepared,
    tmp_path: Path,
    workers: int,
    number: signal.Signals,
    to_all: bool,
    code: int,
) -> None:
    with start(prepared, tmp_path, workers) as running:
        wait_for_cells(running, tmp_path, workers)
        children = psutil.Process(running.pid).children(recursive=True)
        assert len(children) >= workers > 1 or workers == 1
        (os.killpg if to_all else os.kill)(running.pid, number)
        _, alive = psutil.wait_procs(children, timeout=20)
        left = [process for process in alive if is_alive(process)]
        for process in left:
            process.kill()
        said = running.communicate(timeout=60)[1]
    assert left == []
    assert running.returncode == code, said
    assert ("Stopped; " in said) == (code > 0)
    assert "Traceback" not in said
    assert not list(tmp_path.glob("cells/*/result.json"))


def test_a_killed_worker_ends_its_table_with_what_to_do(prepared: Prepared, tmp_path: Path) -> None:
    with start(prepared, tmp_path, 2) as running:
        wait_for_cells(running, tmp_path, 2)
        children = psutil.Process(running.pid).children(recursive=True)
        workers = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
        assert len(workers) == 2
        workers[0].kill()
        said = running.communicate(timeout=60)[1]
        gone, alive = psutil.wait_procs(children, timeout=20)
    assert [one for one in alive if is_alive(one)] == []
    assert len(gone) + len(alive) == len(children)
    assert running.returncode == 1
    assert "request_invalid: a worker was killed" in said
    assert "fewer --workers" in said
    assert "Traceback" not in said
