"""Fixtures that the training tests share; each export and each painting happens once."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from deepsmile.bundle import Bundle, load_bundle
from deepsmile_training.cli.main import commands
from deepsmile_training.demo.pretext import BACKBONE
from deepsmile_training.encoders.tile_encoder import (
    TileEncoder,
    export_encoder,
    make_encoder,
    settle_batch_norm,
)
from deepsmile_training.mil.ensemble import Ensemble, export_ensemble
from deepsmile_training.mil.heads import VarMIL
from deepsmile_training.synthetic.slide import make_slide
from deepsmile_training.synthetic.specimen import SlideSpec, draw_spec

FEATURE_DIM = 1024


def small_spec(seed: int, *, heterogeneous: bool = True, cellular: bool = True) -> SlideSpec:
    """A specimen of about nine tiles."""
    return draw_spec(seed, heterogeneous=heterogeneous, cellular=cellular, tissue_tiles=(9.0, 10.0))


@dataclass(frozen=True)
class PaintedSlide:
    path: Path
    spec: SlideSpec


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors are slower on several threads than on one; the smoke run leaves two."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PaintedSlide]:
    """One small slide per layout and microns per pixel."""
    folder = tmp_path_factory.mktemp("painted")
    kinds = {"aperio": ("aperio", 0.504, ".svs"), "generic": ("generic", 1.0, ".tif")}
    slides = {}
    for seed, (name, (layout, mpp, suffix)) in enumerate(kinds.items()):
        spec = replace(small_spec(100 + seed), layout=layout, mpp=mpp)
        slides[name] = PaintedSlide(folder / f"{name}{suffix}", spec)
        make_slide(slides[name].path, spec)
    return slides


@pytest.fixture(scope="session")
def noise_tiles() -> np.ndarray:
    """(8, 224, 224, 3) uint8 of blurred noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 250, (8, 28, 28, 3), np.uint8)  # (8, 28, 28, 3)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="session")
def encoder(noise_tiles: np.ndarray) -> TileEncoder:
    """An untrained encoder whose batch norms are settled."""
    encoder = make_encoder(BACKBONE, 0)
    tiles = torch.from_numpy(noise_tiles)
    encoder.normalise_for(tiles)
    settle_batch_norm(encoder, tiles, batch=4)
    return encoder


@pytest.fixture(scope="session")
def encoder_path(encoder: TileEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "model.onnx"
    export_encoder(encoder, path)
    return path


@pytest.fixture(scope="session")
def ensemble() -> Ensemble:
    """Three members of real width, standardised differently."""
    torch.manual_seed(0)
    members = [VarMIL(FEATURE_DIM) for _ in range(3)]
    for member in members:
        member.standardise_for(torch.rand(50, FEATURE_DIM) * (1 + torch.rand(FEATURE_DIM)))
    return Ensemble(members).eval()


@pytest.fixture(scope="session")
def ensemble_path(ensemble: Ensemble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ensemble") / "model.onnx"
    export_ensemble(ensemble, path)
    return path


@dataclass(frozen=True)
class SmokeRun:
    """What `deepsmile-train demo-bundle --smoke` left behind."""

    bundle: Bundle
    work: Path
    output: str


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> SmokeRun:
    folder = tmp_path_factory.mktemp("smoke")
    out, work = folder / "repository", folder / "work"
    arguments = ["demo-bundle", "--smoke", "--seed", "7", "--work", str(work)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DEEPSMILE_MODEL_REPOSITORY", str(out))
        result = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return SmokeRun(load_bundle(out, "demo"), work, result.output)
