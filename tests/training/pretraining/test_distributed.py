"""Two ranks over gloo learn what one process learns from the joined batch."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from deepsmile.errors import RequestInvalid
from deepsmile_training.pretraining.distributed import World, joined_world
from deepsmile_training.pretraining.logbook import read_log
from deepsmile_training.pretraining.loop import Run
from deepsmile_training.pretraining.methods import (
    first_encoder,
    joins_batch_norms,
    make_method,
    prepare,
    with_joined_batch_norms,
)
from deepsmile_training.pretraining.remarks import remarks
from tests.training.pretraining.conftest import HeldTiles, small_config, small_trainer
from tests.training.pretraining.ranks import RUNS, train_in

ROOT = Path(__file__).parents[3]


def ranks_of_two(port: int) -> list[dict[str, str]]:
    """What torchrun puts into the environments of two ranks."""
    both = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**both, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs by two ranks: this process leads, another one follows."""
    folder = tmp_path_factory.mktemp("both")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        leading, following = ranks_of_two(free.getsockname()[1])
    command = [sys.executable, "-m", train_in.__module__, str(folder), *RUNS]
    env = {**os.environ, **following, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (
        subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as other,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in leading.items():
            environment.setenv(name, value)
        train_in(folder, list(RUNS))
        _, complaint = other.communicate(timeout=60)
    assert other.returncode == 0, complaint
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoint.pt", weights_only=True)[
        "method"
    ]
    return state


@pytest.mark.slow
def test_two_ranks_learn_what_one_process_does(both: Path, tmp_path: Path) -> None:
    """Losses and weights of four steps, negatives and gradients crossing the ranks.

    Without batch norms, which would see half of the batch each.
    """
    name = "without batch norms"
    train_in(tmp_path, [name])
    folders = (tmp_path / name, both / name)
    losses = [[entry["loss"] for entry in read_log(folder)] for folder in folders]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert max(losses[0]) - min(losses[0]) > 0.05  # they are not all alike by chance
    joined = weights_of(both / name)
    reach = 4 * RUNS[name]["adam"]["learning_rate"]  # no step of Adam moves a weight farther
    for part, weights in weights_of(tmp_path / name).items():
        # Adam divides by the gradient's size: rounding shows in single weights whose gradient is
        # near zero, so they are judged together.
        apart = (joined[part] - weights).square().mean().sqrt().item()
        assert apart < 0.02 * reach, part
    assert not list((both / "others").rglob("checkpoint.pt"))


@pytest.mark.slow
def test_recomputing_changes_nothing_that_two_ranks_learn(both: Path) -> None:
    """Weights and running statistics after four steps."""
    kept, recomputed = weights_of(both / "kept"), weights_of(both / "recomputed")
    assert any(part.endswith("running_var") for part in kept)
    for part, weights in kept.items():
        torch.testing.assert_close(recomputed[part], weights, atol=1e-6, rtol=1e-5, msg=part)


@pytest.mark.slow
def test_ranks_do_not_go_on_from_different_checkpoints(both: Path) -> None:
    """Each has looked into a folder of its own: the leading one's is of step 4."""
    said = [(folder / "kept" / "refused").read_text() for folder in (both, both / "others")]
    assert said == ["the ranks would go on from different checkpoints, of steps 4, 0"] * 2


def test_ranks_take_equal_parts_of_one_batch(held: HeldTiles, tmp_path: Path) -> None:
    """Two ranks and two parts of a batch of ten: eight tiles, each of them once."""
    config = small_config(method="byol", batch=10, accumulation=2, epochs=1)
    orders = [Run(config, held, tmp_path, World(rank, 2)).order for rank in range(2)]
    shares = [order.rows(place) for order in orders for place in order.places(0)]
    assert [len(rows) for rows in shares] == [2, 2, 2, 2]
    assert len({row for rows in shares for row in rows}) == 8 == orders[0].batch_used


def test_ranks_draw_from_one_batch(held: HeldTiles, tmp_path: Path) -> None:
    """A view depends on its place in the joined batch, and on no number of ranks."""
    config = small_config()
    alone = Run(config, held, tmp_path, World()).order
    second = Run(config, held, tmp_path, World(1, 2)).order
    (whole,), (half,) = alone.places(1), second.places(1)
    for one, part in zip(
        alone.draws(config.augmentation, 48, whole),
        second.draws(config.augmentation, 48, half),
        strict=True,
    ):
        assert torch.equal(one.box[2:], part.box)
        assert torch.equal(one.factors[2:], part.factors)
    assert alone.rows(whole)[2:] == second.rows(half)


def test_more_ranks_than_tiles_of_a_batch_are_refused(held: HeldTiles, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="none to some of 5 ranks"):
        _ = Run(small_config(), held, tmp_path, World(0, 5)).order


def test_batch_norms_are_joined_on_gpus_only(held: HeldTiles, tmp_path: Path) -> None:
    """Of ranks without one they stay as they are, which is said."""
    config = small_config(sync_batch_norm=True)
    gpus = [World(0, ranks, torch.device("cuda", 0)) for ranks in (1, 2)]
    joined = [joins_batch_norms(config, world) for world in (*gpus, World(), World(0, 2))]
    assert joined == [False, True, False, False]
    run = Run(config, held, tmp_path, World(0, 2))
    assert any("sync_batch_norm is for GPUs" in line for line in remarks(run, 0, None))
    assert not any("sync" in line for line in remarks(replace(run, world=World()), 0, None))
    method = small_trainer(replace(run, world=World())).method
    assert not any(
        "Sync" in type(part).__name__ for part in prepare(method, config, World(0, 2)).modules()
    )


@pytest.mark.parametrize(
    ("precision", "has_units", "told"), [("bf16", False, 1), ("bf16", True, 0), ("fp32", False, 0)]
)
def test_a_gpu_without_units_for_bf16_is_told_of(
    run: Run, monkeypatch: pytest.MonkeyPatch, precision: str, has_units: bool, told: int
) -> None:
    """Those of the paper, Titan RTX (appendix B.1): torch's autocast emulates it without a word."""
    asked = {"including_emulation": False}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: how != asked or has_units)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "TITAN RTX")
    config = small_config(precision=precision)
    on_gpu = replace(run, config=config, world=World(device=torch.device("cuda", 0)))
    lines = [line for line in remarks(on_gpu, 0, None) if "--set precision=fp32" in line]
    assert len(lines) == told
    assert all("TITAN RTX" in line for line in lines)
    on_cpu = replace(on_gpu, world=World())
    assert not any("precision" in line for line in remarks(on_cpu, 0, None))


@pytest.mark.parametrize("backbone", ["timm:test_efficientnet", "shufflenet_v2_x0_5"])
def test_joined_batch_norms_compute_the_same(backbone: str) -> None:
    """The activations that timm puts into its batch norms stay; heads are joined too."""
    config = small_config(backbone=backbone, method="byol")
    method = make_method(first_encoder(config)[0], config, World()).eval()
    views = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = method(views).z
        joined = with_joined_batch_norms(method, backbone)
        assert torch.equal(joined(views).z, before)
    norms = [part for part in joined.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(part, nn.SyncBatchNorm) for part in norms)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="sees no GPU"), joined_world("cuda"):
        pass
