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

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid, StorageFull
from deepsmile_training.encoders.checkpoint import save_checkpoint
from deepsmile_training.encoders.comparison import Question, Sample
from deepsmile_training.encoders.initialisation import Origin
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder
from deepsmile_training.pretraining.checkpoint import NAME as CHECKPOINT
from deepsmile_training.pretraining.forecast import forecast
from deepsmile_training.pretraining.logbook import read_log
from deepsmile_training.pretraining.loop import Run, train
from deepsmile_training.pretraining.probing import Prober
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_with_a_checkpoint(run: Run, number: int, code: int) -> None:
    former = signal.getsignal(number)
    with told_to_stop() as told:
        os.kill(os.getpid(), number)
        trainer = run_to_end(run, told.is_set)
    assert trainer.step == 1
    assert small_trainer(run).step == 1
    assert told.exit_code == code
    assert signal.getsignal(number) == former


def test_a_stop_is_kept_before_anything_else(run: Run) -> None:
    """Even where the log finds no room."""

    def stopping() -> bool:
        log = run.folder / "metrics.jsonl"
        log.unlink()
        log.symlink_to("/dev/full")
        return True

    with pytest.raises(StorageFull, match="no room for the run's log"):
        run_to_end(run, stopping)
    assert small_trainer(run).step == 1


def test_a_stopped_run_does_not_ask_the_neighbours(run: Run) -> None:
    """Not at the end of an epoch either, where one that goes on does."""
    running = {**run.config.running.model_dump(), "probe_epochs": 1}
    run = replace(run, config=small_config(running=running))
    some = run.tiles.read(range(12))
    names = np.repeat(np.array(["a", "b"]), 6)
    asked = Question("slide", np.arange(12), names, None, np.ones(12, bool))
    prober = Prober(Sample(some, names, names, {}), [asked], 32)
    stopped, straight = elsewhere(run, "stopped"), elsewhere(run, "straight")
    for each, stopping in ((stopped, after(3)), (straight, after(4))):
        train(small_trainer(each), stopping, advance=lambda: None, prober=prober)
    probed = [
        [entry["step"] for entry in read_log(each.folder) if "knn_slide" in entry]
        for each in (stopped, straight)
    ]
    assert probed == [[0], [0, 3]]


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
    with (
        file_size_limit(100_000),
        pytest.raises(StorageFull, match=r"no room for .*checkpoint\.pt"),
    ):
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


def test_a_corrected_label_makes_no_other_tiles(run: Run, held: HeldTiles) -> None:
    run_to_end(run, after(1))
    corrected = replace(run, tiles=replace(held, said="another label"))
    assert corrected.tiles.digest != run.tiles.digest
    assert small_trainer(corrected).step == 1


def test_a_run_goes_on_without_the_file_of_its_first_weights(run: Run) -> None:
    """What lies there by then is not where it came from."""
    path = run.folder / "first.pt"
    save_checkpoint(make_encoder("shufflenet_v2_x0_5", 1), path)
    origin = Origin("file", "first.pt", digest_of_file(path))
    run = replace(run, config=small_config(initialisation={"kind": "file", "path": str(path)}))
    assert run_to_end(run, after(1)).origin == origin
    path.unlink()
    assert forecast(run).taken == 1
    trainer = small_trainer(run)
    assert (trainer.step, trainer.origin) == (1, origin)
    save_checkpoint(make_encoder("shufflenet_v2_x0_5", 2), path)
    assert small_trainer(run).origin == origin


@pytest.mark.parametrize("content", [None, b"garbage\n", b"0.", b"\x80\x02.", b""])
def test_a_damaged_checkpoint_is_refused(run: Run, content: bytes | None) -> None:
    """One that was cut short, and bytes that nobody wrote as one."""
    path = run.folder / CHECKPOINT
    if content is None:
        run_to_end(run, after(1))
        content = path.read_bytes()[:1000]
    path.write_bytes(content)
    with pytest.raises(RequestInvalid, match="no checkpoint") as complaint:
        small_trainer(run)
    assert "Remove it" in complaint.value.hint


def test_an_encoder_is_written_whole_or_not_at_all(run: Run, encoder: TileEncoder) -> None:
    path = run.folder / "encoder.pt"
    save_checkpoint(encoder, path)
    before = path.read_bytes()
    with file_size_limit(100_000), pytest.raises(StorageFull, match=r"no room for .*encoder\.pt"):
        save_checkpoint(encoder, path)
    assert path.read_bytes() == before
    assert [each.name for each in run.folder.iterdir()] == ["encoder.pt"]


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
