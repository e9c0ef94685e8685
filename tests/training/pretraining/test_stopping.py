"""A run in processes of its own is stopped, and goes on, as docs/training.md says."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from deepsmile_training.encoders.checkpoint import load_checkpoint
from deepsmile_training.pretraining.logbook import read_log

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[3] / "docs" / "training.md"
BIN = Path(sys.executable).parent
STEPS = 36
GIVEN = (
    "--preset smoke --set backbone=shufflenet_v2_x0_5 --set batch=4 --set epochs=12"
    " --set running.workers=1 --set running.device=cpu --threads 1"
)


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    """In a session of its own, as a scheduler or torchrun starts it."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_a_step(running: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not any("loss" in entry for entry in read_log(folder)):
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_is_stopped_with_its_workers_and_goes_on_as_two_ranks(
    store: Path, tmp_path: Path
) -> None:
    """SIGTERM goes to the whole group, readers too, as torchrun's ranks get it always.

    Then the page's command goes on: it is the same run, though batch norms see half of a batch.
    """
    folder = tmp_path / "run"
    given = [str(store), "--out", str(folder), *shlex.split(GIVEN)]
    with start(["deepsmile-train", "pretrain", *given]) as alone:
        wait_for_a_step(alone, folder)
        os.killpg(alone.pid, signal.SIGTERM)
        said, _ = alone.communicate(timeout=120)
    assert alone.returncode == 143, said
    assert "Stopped, with a checkpoint" in said
    assert not (folder / "encoder.pt").exists()
    with pytest.raises(ProcessLookupError):  # no reader is left behind
        os.killpg(alone.pid, 0)
    taken = read_log(folder)[-1]["step"]
    page = re.search(r"`(torchrun [^`]*) \.\.\.`", PAGE.read_text())
    assert page
    ranks = page[1].replace("--nproc-per-node 4", "--nproc-per-node 2")
    with start([*shlex.split(ranks), *given]) as together:
        said, _ = together.communicate(timeout=240)
    assert together.returncode == 0, said
    assert f"goes on from step {taken} of {STEPS}" in said
    assert "sync_batch_norm is for GPUs" in said
    steps = [entry["step"] for entry in read_log(folder) if "loss" in entry]
    assert steps == list(range(1, STEPS + 1))
    assert json.loads((folder / "encoder.json").read_text())["ranks"] == 2
    assert load_checkpoint(folder / "encoder.pt").name == "shufflenet_v2_x0_5"
