"""The command: from a tile store to an encoder, its provenance, and its TensorBoard logs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile_training.cli.main import commands
from deepsmile_training.cohorts.untouched import hashed_slide
from deepsmile_training.encoders.checkpoint import load_checkpoint, save_checkpoint
from deepsmile_training.encoders.tile_encoder import make_encoder
from deepsmile_training.pretraining.logbook import read_log
from deepsmile_training.tilesets.store import open_store
from tests.training.pretraining.conftest import pack, paint

pytestmark = pytest.mark.slow

SMALL = (
    "backbone: shufflenet_v2_x0_5\nbatch: 4\nepochs: 2\nview_px: 32\nprecision: fp32\n"
    "running: {workers: 0, log_steps: 1, device: cpu, probe_epochs: 1}\n"
)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(commands, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.slow
def test_command_leaves_an_encoder_with_its_provenance(
    store: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = invoke("pretrain", store, "--config", config, "--out", out, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "loss" in result.output
    assert "neighbours are asked for: slide, class\n" in result.output
    assert "knn_slide" in result.output
    assert "knn_class" in result.output
    told = json.loads((out / "encoder.json").read_text())
    assert told["encoder"]["sha256"] == digest_of_file(out / "encoder.pt")
    packed = open_store(store)
    slides = [list(hashed_slide(slide.name, slide.case)) for slide in packed.slides]
    assert told["tiles"] == {"sha256": packed.digest, "number": 12, "slides": slides}
    assert (told["steps"], told["backbone"]) == (6, "shufflenet_v2_x0_5")
    state = torch.load(out / "checkpoint.pt", weights_only=True)["method"]
    encoder = load_checkpoint(out / "encoder.pt")
    for name, weights in encoder.state_dict().items():
        assert torch.equal(weights, state[f"encoder.{name}"]), name
    assert [e["step"] for e in read_log(out) if "knn_slide" in e] == [0, 3, 6]
    assert list((out / "tensorboard").glob("events.*"))
    again = invoke("pretrain", store, "--config", out / "config.yaml", "--out", out, "--threads", 1)
    assert again.exit_code == 0, again.output
    assert "goes on from step 6 of 6" in again.output
    assert json.loads((out / "encoder.json").read_text())["encoder"] == told["encoder"]
    dry = ["--config", config, "--out", out, "--threads", 1, "--dry-run"]
    assert "goes on from step 6 of 6" in invoke("pretrain", store, *dry).output
    with pytest.raises(RequestInvalid, match="another configuration: seed 0, not 1"):
        invoke("pretrain", store, *dry, "--set", "seed=1")
    (out / "metrics.jsonl").unlink()  # as where the disk was full after the last checkpoint
    unlogged = invoke("pretrain", store, "--config", config, "--out", out, "--threads", 1)
    assert unlogged.exit_code == 0, unlogged.output
    assert json.loads((out / "encoder.json").read_text())["loss"] is None


def test_provenance_names_first_weights_without_their_place(
    store: Path, config: Path, tmp_path: Path
) -> None:
    place = tmp_path / "of John" / "first.pt"
    place.parent.mkdir()
    encoder = make_encoder("shufflenet_v2_x0_5", 1)
    save_checkpoint(encoder, place)
    changes = {"initialisation.kind": "file", "initialisation.path": place, "epochs": 1}
    told = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    out = tmp_path / "run"
    result = invoke("pretrain", store, "--config", config, "--out", out, "--threads", 1, *told)
    assert result.exit_code == 0, result.output
    text = (out / "encoder.json").read_text()
    origin = {"kind": "file", "what": "first.pt", "sha256": digest_of_file(place)}
    assert json.loads(text)["initialisation"] == origin
    assert "John" not in text


def test_tiles_that_no_neighbour_can_tell_are_said(tmp_path: Path) -> None:
    """Four slides of one tile each, one of each class."""
    rng = np.random.default_rng(0)
    for slide in range(4):
        paint(tmp_path / "images" / f"slide{slide}" / "0.png", rng, slide)
    store = pack(tmp_path / "images", tmp_path / "store")
    given = ["--preset", "smoke", "--set", "batch=2", "--threads", 1]
    result = invoke("pretrain", store, *given, "--out", tmp_path / "run", "--dry-run")
    assert "neighbours are asked for nothing" in result.output


def test_dry_run_tells_cost_and_disk_and_writes_nothing(
    store: Path, config: Path, tmp_path: Path
) -> None:
    """Parameters, steps and arithmetic of a known network; 41 million multiply-adds at 224 px."""
    out = tmp_path / "run"
    given = ["--config", config, "--out", out, "--dry-run", "--set", "view_px=224"]
    given += ["--set", "augmentation=gentle", "--set", "augmentation.hue=0.1"]
    result = invoke("pretrain", store, *given, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "brightness: 0.2\n" in result.output
    assert "hue: 0.1\n" in result.output
    assert "steps       6 of 4 tiles" in result.output
    assert "hours for 6 steps" in result.output
    assert "goes on from" not in result.output
    assert "parameters  0.3 million" in result.output
    exaflop = float(result.output.split("arithmetic  ")[1].split()[0])
    assert exaflop == pytest.approx(6 * 4 * 2 * 3 * 2 * 40e6 / 1e18, rel=0.1)
    assert "MB at most" in result.output
    assert not out.exists()


def test_dry_run_of_a_loss_that_is_not_finite_writes_nothing(
    store: Path, config: Path, tmp_path: Path
) -> None:
    """Neither where there is a folder nor where there is none."""
    given = ["--config", config, "--set", "adam.learning_rate=1e30", "--dry-run", "--threads", 1]
    out = tmp_path / "run"
    for _ in range(2):
        with pytest.raises(RequestInvalid, match=r"the loss of step 1 is not finite$"):
            invoke("pretrain", store, *given, "--out", out)
        assert not out.exists() or not list(out.iterdir())
        out.mkdir(exist_ok=True)


def test_command_wants_to_be_told_how(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="nothing says how to train"):
        invoke("pretrain", store, "--out", tmp_path / "run")
    for change, complaint in {
        "batch": "want KEY=VALUE",
        "backbone=[1": r"--set backbone=\[1: while parsing",
        "augmentation=strong": "no augmentation 'strong'",
    }.items():
        given = ["--preset", "smoke", "--set", change, "--out", tmp_path / "run"]
        with pytest.raises(RequestInvalid, match=complaint):
            invoke("pretrain", store, *given)


def test_the_module_runs_as_the_command_does() -> None:
    command = [sys.executable, "-m", "deepsmile_training.cli.main", "pretrain", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "SimCLR or BYOL" in told.stdout


def test_no_store_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="no tile store"):
        invoke("pretrain", tmp_path / "none", "--config", config, "--out", tmp_path / "run")
