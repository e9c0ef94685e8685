"""Encoders that are kept on the way, and the folder that one run has for itself."""

import fcntl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.checkpoint import load_checkpoint
from deepsmile_training.encoders.history import history_of
from deepsmile_training.encoders.sources import read_encoder, title_of
from deepsmile_training.pretraining.forecast import forecast
from deepsmile_training.pretraining.loop import Run
from deepsmile_training.pretraining.pretrain import pretrain
from tests.training.pretraining.conftest import SMALL, small_config

pytestmark = pytest.mark.slow


def trained(run: Run, stopping: Callable[[], bool] = lambda: False) -> bool:
    return pretrain(run, stopping, stage=lambda _what, _total: lambda: None, say=lambda _line: None)


def at(step: int) -> Callable[[], bool]:
    asked: Iterator[int] = iter(range(1, 100))
    return lambda: next(asked) == step


@pytest.fixture
def keeping(run: Run) -> Run:
    """Three steps an epoch, two epochs."""
    running = {**SMALL["running"], "keep_epochs": 1, "log_steps": 2}
    return replace(run, config=small_config(running=running))


def in_folder(run: Run, name: str) -> Run:
    return replace(run, folder=run.folder / name)


def same(one: Path, other: Path) -> bool:
    states = [load_checkpoint(path).state_dict() for path in (one, other)]
    return all(torch.equal(weights, states[1][name]) for name, weights in states[0].items())


def test_encoders_are_kept_after_so_many_epochs(keeping: Run) -> None:
    """Each with what it is: its own digest, steps and losses."""
    assert trained(keeping)
    folder = keeping.folder
    first, second = (folder / f"encoder-epoch{epoch}.pt" for epoch in (1, 2))
    assert sorted(folder.glob("*.pt")) == sorted(
        [folder / "checkpoint.pt", folder / "encoder.pt", first, second]
    )
    assert same(second, folder / "encoder.pt")
    assert not same(first, second)
    for path, steps, logged in ((first, 3, [2]), (second, 6, [2, 4, 6])):
        told = history_of(path)
        assert told is not None
        assert told["encoder"] == {"file": path.name, "sha256": digest_of_file(path)}
        assert told["steps"] == steps
        assert [step for step, _ in told["loss_curve"]] == logged
    assert read_encoder(str(first))[1].what == "encoder-epoch1.pt"
    assert title_of(str(first)) == f"{folder.name}/encoder-epoch1.pt"


def test_kept_encoders_are_the_same_however_often_a_run_stops(keeping: Run) -> None:
    """Within epochs, and between a checkpoint and the encoder after the same step."""
    straight, stopped = in_folder(keeping, "straight"), in_folder(keeping, "stopped")
    trained(straight)
    trained(stopped, at(2))
    assert not list(stopped.folder.glob("encoder*"))
    trained(stopped, at(1))
    (stopped.folder / "encoder-epoch1.pt").unlink()
    (stopped.folder / "encoder-epoch1.json").unlink()
    trained(stopped, at(1))
    assert history_of(stopped.folder / "encoder-epoch1.pt") is not None
    trained(stopped)
    for epoch in (1, 2):
        assert same(*(each.folder / f"encoder-epoch{epoch}.pt" for each in (straight, stopped)))


def test_none_is_kept_unasked(run: Run) -> None:
    assert trained(run)
    assert not list(run.folder.glob("encoder-epoch*"))


def test_a_forecast_counts_the_kept_encoders(run: Run, keeping: Run) -> None:
    """Two more of 0.34 million weights and some statistics, of 4 bytes."""
    more = forecast(keeping).disk_bytes - forecast(run).disk_bytes
    assert more == pytest.approx(2 * 0.35e6 * 4, rel=0.05)


def test_two_runs_do_not_train_in_one_folder(run: Run) -> None:
    """The second one changes nothing, and may go on when the first has ended."""
    trained(run, at(1))
    before = digest_of_file(run.folder / "checkpoint.pt")
    with (run.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RequestInvalid, match="another run trains there") as caught:
            trained(run)
    assert "Wait for it" in caught.value.hint
    assert digest_of_file(run.folder / "checkpoint.pt") == before
    assert trained(run)
