"""Fixtures of the encoders' tests: a small encoder, released once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from deepsmile_training.cli.encoders import export_encoder, probe
from deepsmile_training.cli.tiles import tiles
from deepsmile_training.encoders.encoder_file import RepositoryEncoder
from deepsmile_training.encoders.release import Candidate, candidate_of, release

SOURCE = "random:timm:test_vit"
"""A transformer of 0.3 million weights for 160 px, with a normalisation of its own."""
commands = Typer()
for command in (tiles, probe, export_encoder):
    commands.command()(command)


def run(*arguments: object) -> str:
    """What a command says; it succeeds."""
    result = CliRunner().invoke(commands, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@dataclass(frozen=True)
class Released:
    encoder: RepositoryEncoder
    candidate: Candidate
    tiles: np.ndarray


@pytest.fixture(scope="session")
def some_tiles(noise_tiles: np.ndarray) -> np.ndarray:
    """(64, 224, 224, 3) of noise, each of another brightness."""
    shades = np.linspace(0.3, 1, 64)[:, None, None, None]
    return (noise_tiles[np.arange(64) % 8] * shades).astype(np.uint8)


@pytest.fixture(scope="session")
def released(some_tiles: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Released:
    out = tmp_path_factory.mktemp("released")
    candidate = candidate_of("vit", SOURCE, some_tiles)
    encoder = release(candidate, some_tiles, out, "deepsmile-train export-encoder")
    return Released(encoder, candidate, some_tiles)


@pytest.fixture
def tile_folder(some_tiles: np.ndarray, tmp_path: Path) -> Path:
    """Tile images of four slides of two cases, and the table of them."""
    import cv2

    for number, tile in enumerate(some_tiles):
        folder = tmp_path / "tiles" / f"slide{number // 16}"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number:02}.png"), tile)
    rows = ["slide,case,organ", *(f"slide{i},case{i % 2},organ{i // 2}" for i in range(4))]
    (tmp_path / "slides.csv").write_text("\n".join(rows) + "\n")
    return tmp_path
