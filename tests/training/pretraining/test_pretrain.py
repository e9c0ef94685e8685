"""The command: from a tile store to an encoder, its provenance, and its TensorBoard logs."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile_training.cli.pretrain import pretrain
from deepsmile_training.cli.tiles import tiles
from deepsmile_training.encoders.checkpoint import load_checkpoint
from deepsmile_training.pretraining.logbook import read_log
from deepsmile_training.tilesets.store import open_store

pytestmark = pytest.mark.slow

SMALL = (
    "backbone: shufflenet_v2_x0_5\nbatch: 4\nepochs: 2\nview_px: 32\nprecision: fp32\n"
    "running: {workers: 0, log_steps: 1, device: cpu, probe_epochs: 1}\n"
)

app = typer.Typer()
app.command()(pretrain)
app.command()(tiles)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slides of three tile images each, of four colours."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for slide in range(4):
        place = folder / f"slide{slide}"
        place.mkdir()
        for tile in range(3):
            tint = np.array([200, 60 + 40 * slide, 190], np.uint8)  # (3,)
            noise = rng.integers(0, 40, (224, 224, 3), np.uint8)  # (224, 224, 3)
            cv2.imwrite(str(place / f"{tile}.png"), noise + tint)
    out = folder.parent / f"{folder.name}-store"
    result = invoke("tiles", folder, "--images", "--out", out)
    assert result.exit_code == 0, result.output
    return out


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
    assert "knn_slide" in result.output
    told = json.loads((out / "encoder.json").read_text())
    assert told["encoder"]["sha256"] == digest_of_file(out / "encoder.pt")
    assert told["tiles"] == {"sha256": open_store(store).digest, "number": 12}
    assert (told["steps"], told["backbone"]) == (6, "shufflenet_v2_x0_5")
    state = torch.load(out / "checkpoint.pt", weights_only=True)["method"]
    encoder = load_checkpoint(out / "encoder.pt")
    for name, weights in encoder.state_dict().items():
        assert torch.equal(weights, state[f"encoder.{name}"]), name
    assert [e["step"] for e in read_log(out) if "knn_slide" in e] == [0, 3, 6]
    assert list((out / "tensorboard").glob("events.*"))
    again = invoke("pretrain", store, "--config", out / "config.yaml", "--out", out, "--threads", 1)
    assert again.exit_code == 0, again.output
    assert json.loads((out / "encoder.json").read_text())["encoder"] == told["encoder"]


def test_dry_run_tells_cost_and_disk_and_writes_nothing(
    store: Path, config: Path, tmp_path: Path
) -> None:
    """Parameters, steps and arithmetic of a known network; 41 million multiply-adds at 224 px."""
    out = tmp_path / "run"
    given = ["--config", config, "--out", out, "--dry-run", "--set", "view_px=224"]
    result = invoke("pretrain", store, *given, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "steps       6 of 4 tiles" in result.output
    assert "parameters  0.3 million" in result.output
    exaflop = float(result.output.split("arithmetic  ")[1].split()[0])
    assert exaflop == pytest.approx(6 * 4 * 2 * 3 * 2 * 40e6 / 1e18, rel=0.1)
    assert "MB at most" in result.output
    assert not out.exists()


def test_command_wants_to_be_told_how(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="nothing says how to train"):
        invoke("pretrain", store, "--out", tmp_path / "run")
    with pytest.raises(RequestInvalid, match="want KEY=VALUE"):
        invoke("pretrain", store, "--preset", "smoke", "--set", "batch", "--out", tmp_path / "run")


def test_no_store_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="no tile store"):
        invoke("pretrain", tmp_path / "none", "--config", config, "--out", tmp_path / "run")
