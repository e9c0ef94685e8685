"""Fixtures of the pre-training tests: tiles in memory, and small runs."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from deepsmile_training.cli.main import commands
from deepsmile_training.encoders.tile_encoder import TileEncoder
from deepsmile_training.pretraining.config import PretrainConfig, parse_config
from deepsmile_training.pretraining.distributed import World
from deepsmile_training.pretraining.loop import Run, Trainer, train, trainer_of
from deepsmile_training.pretraining.methods import first_encoder


@dataclass(frozen=True)
class HeldTiles:
    """A tile store that is an array (n, S, S, 3), with what is said of its slides."""

    pixels: NDArray[np.uint8]
    said: str = ""

    @property
    def tile_px(self) -> int:
        return self.pixels.shape[1]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.pixels.tobytes() + self.said.encode()).hexdigest()

    @property
    def tiles_digest(self) -> str:
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        return self.pixels[list(numbers)]


SMALL: dict[str, Any] = {
    "backbone": "shufflenet_v2_x0_5",
    "batch": 4,
    "epochs": 2,
    "view_px": 32,
    "precision": "fp32",
    "sync_batch_norm": False,
    "byol": {"hidden": 16, "embedding_dim": 8},
    "running": {"workers": 0, "log_steps": 1, "device": "cpu"},
}


def small_config(**changes: Any) -> PretrainConfig:
    return parse_config({**SMALL, **changes}, "test")


def small_trainer(run: Run) -> Trainer:
    return trainer_of(run, run.checkpoint())


def run_to_end(run: Run, stopping: Callable[[], bool] = lambda: False) -> Trainer:
    trainer = small_trainer(run)
    train(trainer, stopping, advance=lambda: None)
    return trainer


def paint(path: Path, rng: np.random.Generator, tint: int) -> None:
    """A tile image of noise, of one of four tints."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.integers(0, 40, (224, 224, 3), np.uint8)  # (224, 224, 3)
    cv2.imwrite(str(path), noise + np.array([200, 60 + 40 * tint, 190], np.uint8))


def pack(images: Path, store: Path) -> Path:
    given = ["tiles", str(images), "--images", "--out", str(store)]
    result = CliRunner().invoke(commands, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kather's layout: four slides of three tiles each, of two classes."""
    folder = tmp_path_factory.mktemp("kather")
    rng = np.random.default_rng(0)
    for slide in range(4):
        for tile in range(3):
            name = f"blk-{tile}-TCGA-AA-000{slide}-01Z-00-DX1.png"
            paint(folder / "train" / ("MSS", "MSIMUT")[slide % 2] / name, rng, slide)
    return pack(folder, tmp_path_factory.mktemp("packed") / "store")


@pytest.fixture(scope="session")
def held() -> HeldTiles:
    """Twelve tiles of 48 px, of blurred noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 250, (12, 6, 6, 3), np.uint8)  # (12, 6, 6, 3)
    return HeldTiles(coarse.repeat(8, axis=1).repeat(8, axis=2))


@pytest.fixture
def run(held: HeldTiles, tmp_path: Path) -> Run:
    return Run(small_config(), held, tmp_path, World())


@pytest.fixture
def encoder() -> TileEncoder:
    return first_encoder(small_config())[0]
