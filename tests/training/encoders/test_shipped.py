"""The encoder of real tissue that comes with the code."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from deepsmile.bundle import load_bundle
from deepsmile.settings import shipped_repository
from deepsmile.triton.config import CONFIG_FILE, digest_parameter
from deepsmile_training.encoders.embedding import embed, onnx_encode
from deepsmile_training.encoders.encoder_file import RepositoryEncoder, load_encoder
from deepsmile_training.encoders.probe import knn_correct

REPOSITORY = shipped_repository()
TILES = Path(__file__).parents[3] / ".." / "shared" / "data" / "ssl_tiles" / "tiles"


@pytest.fixture(scope="module")
def encoder() -> RepositoryEncoder:
    return load_encoder(REPOSITORY, "simclr_cpu")


def test_its_card_says_what_it_learnt_from_and_what_it_is_not(encoder: RepositoryEncoder) -> None:
    card = (REPOSITORY / encoder.file.card).read_text()
    for said in ("Research use only.", "Pathology Atlas", "MIT", "8 cases", "- method: simclr"):
        assert said in card
    told = encoder.file.provenance["probe"]["figures"]
    slide = {one["encoder"]: one["neighbours"] for one in told if one["label"] == "slide"}
    assert slide["simclr_cpu/encoder.pt"]["low"] > slide["demo_encoder"]["high"]


def test_a_server_of_the_repository_finds_it(encoder: RepositoryEncoder) -> None:
    config = (encoder.path.parents[1] / CONFIG_FILE).read_text()
    assert digest_parameter("1") in config
    assert encoder.file.features.encoder.sha256 in config


@pytest.mark.slow
@pytest.mark.skipif(not TILES.is_dir(), reason="../shared/data is not in a clone of the project")
def test_it_tells_slides_apart_that_the_synthetic_one_does_not(encoder: RepositoryEncoder) -> None:
    """20 tiles of each of 18 slides; 0.52 against 0.27 when it was shipped."""
    paths = [
        path for slide in sorted(TILES.iterdir()) for path in sorted(slide.iterdir())[::8][:20]
    ]
    tiles = np.stack([cv2.imread(str(path))[..., ::-1] for path in paths])  # (n, 224, 224, 3)
    slides = np.array([path.parent.name for path in paths])  # (n,)
    synthetic = load_bundle(REPOSITORY, "demo").encoder_path
    share = {
        path: knn_correct(embed(onnx_encode(path), tiles), slides, None, k=5).mean()
        for path in (encoder.path, synthetic)
    }
    assert share[encoder.path] > share[synthetic] + 0.1
