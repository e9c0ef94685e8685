"""Export: every head that pools, as one ONNX graph for any number of tiles."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from deepsmile.errors import RequestInvalid
from deepsmile_training.mil.ensemble import Ensemble, export_ensemble
from tests.training.mil.conftest import MAKERS, WIDTH, make_head

POOLING = [name for name in MAKERS if name != "transmil"]


@pytest.fixture(scope="module")
def every_head() -> Ensemble:
    """One member of each kind in one export; the first takes features as they are."""
    heads = [make_head(name, seed=i) for i, name in enumerate(POOLING)]
    heads[0].mean.zero_()
    heads[0].deviation.fill_(1)
    return Ensemble(heads).eval()


@pytest.fixture(scope="module")
def session(every_head: Ensemble, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("heads") / "model.onnx"
    export_ensemble(every_head, path)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.slow
@pytest.mark.parametrize("tiles", [1, 2, 500])
def test_onnx_runtime_agrees_with_torch(tiles: int, every_head: Ensemble, session) -> None:
    generator = torch.Generator().manual_seed(tiles)
    features = torch.randn(tiles, WIDTH, generator=generator) * 3 + 1
    with torch.no_grad():
        logits, attention = every_head(features)
    found, weights = session.run(["logits", "attention"], {"features": features.numpy()})
    assert found.shape == (len(POOLING), 2)
    for i, name in enumerate(POOLING):
        message = f"{name}, {tiles} tiles"
        np.testing.assert_allclose(found[i], logits[i].numpy(), atol=1e-5, err_msg=message)
        np.testing.assert_allclose(weights[i], attention[i].numpy(), atol=1e-6, err_msg=message)


def test_only_two_classes_are_served(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="two classes"):
        export_ensemble(Ensemble([make_head("deepmil", classes=3)]), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
