"""The loop: reproducible, exact after a stop, and honest about what goes wrong."""

import math
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepsmile.errors import RequestInvalid, StorageFull
from deepsmile_training.pretraining.checkpoint import NAME as CHECKPOINT
from deepsmile_training.pretraining.logbook import read_log
from deepsmile_training.pretraining.loop import Run
from deepsmile_training.pretraining.stopping import told_to_stop
from tests.training.pretraining.conftest import (
    HeldTiles,
    run_to_end,
    small_config,
    small_trainer,
)

pytestmark = pytest.mark.slow

FIGURES = ("step", "loss", "feature_std", "alignment", "uniformity")


def curve(run: Run) -> list[tuple[float, ...]]:
    """All that a run logs but for times."""
    return [tuple(entry[name] for name in FIGURES) for entry in read_log(run.folder)]


def elsewhere(run: Run, name: str) -> Run:
    folder = run.folder / name
    folder.mkdir()
    return replace(run, folder=folder)


def after(steps: int) -> Callable[[], bool]:
    """Says stop at that step."""
    asked = iter(range(1, 100))
    return lambda: next(asked) == steps


@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_a_stopped_run_goes_on_as_if_it_never_stopped(run: Run, method: str) -> None:
    """Same curve and same weights, bit for bit, with a stop inside each of two epochs."""
    run = replace(run, config=small_config(method=method))
    straight, stopped = elsewhere(run, "straight"), elsewhere(run, "stopped")
    whole = run_to_end(straight)
    assert run_to_end(stopped, after(1)).step == 1
    assert run_to_end(stopped, after(3)).step == 4
    parts = run_to_end(stopped)
    assert curve(stopped) == curve(straight)
    assert [entry["step"] for entry in read_log(stopped.folder)] == [1, 2, 3, 4, 5, 6]
    state = parts.method.state_dict()
    for name, weights in whole.method.state_dict().items():
        assert torch.equal(weights, state[name]), name


def test_entries_after_the_checkpoint_are_dropped(run: Run) -> None:
    """A run that was killed had logged steps which it takes again."""
    run_to_end(run, after(2))
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "loss": 99}\n{"step": 4, "lo')
    run_to_end(run)
    assert [entry["step"] for entry in read_log(run.folder)] == [1, 2, 3, 4, 5, 6]
    assert max(entry["loss"] for entry in read_log(run.folder)) < 99


def test_seed_decides_everything(run: Run) -> None:
    other = replace(run, config=small_config(seed=1))
    first, again, different = (
        elsewhere(each, name) for each, name in ((run, "a"), (run, "b"), (other, "c"))
    )
    for each in (first, again, different):
        run_to_end(each)
    assert curve(first) == curve(again)
    assert curve(first) != curve(different)


def test_every_tile_is_seen_once_an_epoch(run: Run) -> None:
    order = run.order
    epochs = [
        [row for step in steps for row in order.rows(order.places(step)[0])]
        for steps in (range(3), range(3, 6))
    ]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_sigterm_ends_a_run_with_a_checkpoint(run: Run) -> None:
    with told_to_stop() as told:
        os.kill(os.getpid(), signal.SIGTERM)
        trainer = run_to_end(run, told.is_set)
    assert trainer.step == 1
    assert small_trainer(run).step == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_checkpoints_are_written_as_time_goes_by(run: Run) -> None:
    """With an interval below a step's time there is one before the run has ended."""
    running = {"workers": 0, "device": "cpu", "checkpoint_minutes": 1e-9}
    found = []

    def stopping() -> bool:
        found.append((run.folder / CHECKPOINT).exists())
        return False

    run_to_end(replace(run, config=small_config(running=running)), stopping)
    assert found == [False, True, True, True, True]


def test_loss_that_is_not_finite_stops_and_keeps_the_batch(run: Run) -> None:
    """The weights are still those before it."""
    trainer = small_trainer(run)
    place = trainer.order.places(0)[0]
    tiles = torch.from_numpy(run.tiles.read(trainer.order.rows(place)))
    weights = [part.detach().clone() for part in trainer.method.parameters()]
    trainer.method.encoder.mean.fill_(math.nan)
    with pytest.raises(RequestInvalid, match=r"step 0 is not finite.*bad_batch_0_0\.pt"):
        trainer.take_step([tiles])
    kept = torch.load(run.folder / "bad_batch_0_0.pt", weights_only=True)
    assert torch.equal(kept["tiles"][0], tiles)
    assert kept["rows"] == [trainer.order.rows(place)]
    for was, part in zip(weights, trainer.method.parameters(), strict=True):
        assert torch.equal(was, part)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """As on a disk that is full: writes beyond it fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_former_checkpoint(run: Run) -> None:
    run_to_end(run, after(2))
    before = (run.folder / CHECKPOINT).read_bytes()
    with file_size_limit(100_000), pytest.raises(StorageFull, match="no room for a checkpoint"):
        run_to_end(run)
    assert (run.folder / CHECKPOINT).read_bytes() == before
    assert not list(run.folder.glob("*.partial"))
    assert run_to_end(run).step == 6


def test_a_full_disk_costs_no_more_than_the_steps_since_the_checkpoint(run: Run) -> None:
    """The log's last line is cut off; the run goes on as if it never stopped."""
    straight, stopped = elsewhere(run, "straight"), elsewhere(run, "stopped")
    run_to_end(straight)
    run_to_end(stopped, after(2))
    log = stopped.folder / "metrics.jsonl"
    room = len(log.read_bytes()) + 60
    with file_size_limit(room), pytest.raises(StorageFull, match="no room for the run's log") as e:
        run_to_end(stopped)
    assert "the same command" in e.value.hint
    assert len(log.read_bytes()) == room
    assert not log.read_text().endswith("\n")
    assert [entry["step"] for entry in read_log(stopped.folder)] == [1, 2]
    run_to_end(stopped)
    assert curve(stopped) == curve(straight)


def test_a_checkpoint_of_another_configuration_is_refused(run: Run) -> None:
    run_to_end(run, after(1))
    other = replace(run, config=small_config(temperature=0.1, seed=3))
    with pytest.raises(RequestInvalid, match=r"temperature 0.5, not 0.1, seed 0, not 3"):
        small_trainer(other)
    faster = {"workers": 0, "device": "cpu", "log_steps": 2, "channels_last": False}
    assert small_trainer(replace(run, config=small_config(running=faster))).step == 1


def test_a_checkpoint_of_other_tiles_is_refused(run: Run, held: HeldTiles) -> None:
    run_to_end(run, after(1))
    with pytest.raises(RequestInvalid, match="of other tiles"):
        small_trainer(replace(run, tiles=HeldTiles(255 - held.pixels)))


def test_a_damaged_checkpoint_is_refused(run: Run) -> None:
    run_to_end(run, after(1))
    path = run.folder / CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RequestInvalid, match="no checkpoint"):
        small_trainer(run)


@pytest.mark.parametrize(("tiles", "complaint"), [(0, "no tiles"), (3, "only 3")])
def test_too_few_tiles_are_refused(run: Run, held: HeldTiles, tiles: int, complaint: str) -> None:
    few = HeldTiles(np.ascontiguousarray(held.pixels[:tiles]))
    with pytest.raises(RequestInvalid, match=complaint):
        small_trainer(replace(run, tiles=few))


def test_workers_read_the_same_tiles(run: Run) -> None:
    """Reading ahead in processes changes nothing."""
    running = {"workers": 1, "log_steps": 1, "device": "cpu"}
    ahead = replace(elsewhere(run, "ahead"), config=small_config(running=running))
    run_to_end(run, after(2))
    run_to_end(ahead, after(2))
    assert curve(ahead) == curve(run)


def test_mixed_precision_and_recomputing_train(run: Run) -> None:
    """bfloat16 keeps 8 bits: a loss within 5 % of that in full precision before anything is learnt.

    After one step within 15 %: Adam's first goes by the signs of the gradient, however small.
    """
    running = {"workers": 0, "log_steps": 1, "device": "cpu", "gradient_checkpointing": True}
    mixed = replace(elsewhere(run, "mixed"), config=small_config(precision="bf16", running=running))
    run_to_end(run, after(2))
    run_to_end(mixed, after(2))
    full, half = ([entry["loss"] for entry in read_log(each.folder)] for each in (run, mixed))
    assert half[0] == pytest.approx(full[0], rel=0.05)
    assert half == pytest.approx(full, rel=0.15)
    assert half != full
