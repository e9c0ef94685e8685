"""What changes on disk behind a server and a worker alike: refused, though the two agree."""

import json
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc

from deepsmile.bundle import Bundle, load_bundle, write_bundle
from deepsmile.errors import BundleCorrupt
from deepsmile.pipeline import SlideSource
from deepsmile.scorer import BundleScorer, Work
from deepsmile.settings import Settings
from deepsmile.stages import no_progress
from deepsmile.triton.server import TritonServer
from tests.making import FEATURE_DIM
from tests.service import wait_until
from tests.triton.test_proof import scale

pytestmark = pytest.mark.slow


def logits_of(url: str) -> list[float]:
    """What the server's head makes of two tiles' features."""
    given = grpc.InferInput("features", (2, FEATURE_DIM), "FP32")
    given.set_data_from_numpy(np.random.default_rng(0).random((2, FEATURE_DIM), np.float32))
    with grpc.InferenceServerClient(url) as client:
        answer = client.infer("tiny_head", [given], model_version="1")
    found: list[float] = answer.as_numpy("logits").ravel().tolist()
    return found


def test_a_model_that_changed_on_disk_is_refused_although_the_server_has_the_same(
    own: TritonServer, served: Path, slide_path: Path, tmp_path: Path
) -> None:
    """It loads what it finds, and states the digest that its configuration was written with."""
    content = json.loads((served / "tiny.bundle.json").read_text())
    del content["digest"]
    tiny, other = load_bundle(served, "tiny"), write_bundle(served, {**content, "name": "other"})
    settings = Settings(
        data_dir=tmp_path / "data", model_repository=served, triton_url=own.url, encoder_threads=1
    )
    scorer = BundleScorer(settings)

    def score(bundle: Bundle) -> None:
        source = SlideSource(slide_path)
        scorer(Work("1", source, bundle.name, bundle.digest, fresh=True), no_progress)

    score(tiny)
    score(other)
    before = logits_of(own.url)
    scale(served / "tiny_head/1/model.onnx", "weights", -1.0)
    wait_until(lambda: logits_of(own.url) != before)
    with pytest.raises(BundleCorrupt, match=r"tiny_head/1/model\.onnx: SHA-256 is"):
        score(tiny)
