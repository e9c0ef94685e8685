"""The encoder and its graph: bytes in, features out, whatever the batch."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from deepsmile.backends.onnx import OnnxEncoder
from deepsmile_training.demo.pretext import BACKBONE
from deepsmile_training.encoders.embedding import torch_encode
from deepsmile_training.encoders.tile_encoder import make_encoder, on_fastest, settle_batch_norm

MAX_BYTES = 7_000_000


def test_convolutions_are_he_initialised() -> None:
    """Section 4.1.1, He et al. 2015: sd sqrt(2 / fan in)."""
    weight = make_encoder(BACKBONE, 0).backbone.conv5[0].weight  # (1024, 464, 1, 1)
    assert weight.std().item() == pytest.approx((2 / 464) ** 0.5, rel=0.02)


def test_tiles_are_encoded_where_the_encoder_lies_and_features_come_back() -> None:
    """From the device that has no memory nothing can, which is what says that it was to."""
    encode = torch_encode(make_encoder("shufflenet_v2_x0_5", 0).to("meta"))
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta"):
        encode(np.zeros((2, 64, 64, 3), np.uint8))


def test_an_encoder_moves_to_a_gpu_where_there_is_one() -> None:
    there = "cuda" if torch.cuda.is_available() else "cpu"
    assert on_fastest(make_encoder("shufflenet_v2_x0_5", 0)).device.type == there


def test_the_same_seed_gives_the_same_encoder() -> None:
    one, other, third = (
        make_encoder(BACKBONE, seed).backbone.conv1[0].weight for seed in (1, 1, 2)
    )
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_the_demos_first_weights_are_those_of_its_published_bundle() -> None:
    """Bit for bit those that the demo began with before backbones had names."""
    state = make_encoder(BACKBONE, 0).state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].numpy().tobytes())
    assert digest.hexdigest() == "423019a65b92320c461b9269f897b63b43e037e4b8eb342e3bf82c9f583dd399"


def test_normalisation_is_the_tiles_mean_and_deviation() -> None:
    tiles = torch.tensor([[[[0, 51, 255]], [[255, 51, 255]]]], dtype=torch.uint8)  # (1, 2, 1, 3)
    encoder = make_encoder(BACKBONE, 0)
    encoder.normalise_for(tiles)
    np.testing.assert_allclose(encoder.mean.flatten(), [0.5, 0.2, 1.0], atol=1e-6)
    np.testing.assert_allclose(encoder.deviation.flatten(), [0.5**0.5, 0, 0], atol=1e-6)


def test_settled_batch_norms_hold_the_average_over_the_tiles(noise_tiles) -> None:
    """The first batch norm's mean is that of its convolution's output over all tiles."""
    tiles = torch.from_numpy(noise_tiles)
    encoder = make_encoder(BACKBONE, 3)
    encoder.normalise_for(tiles)
    settle_batch_norm(encoder, tiles, batch=4)
    convolution, norm = encoder.backbone.conv1[0], encoder.backbone.conv1[1]
    unit = tiles.permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        output = convolution((unit - encoder.mean) / encoder.deviation)  # (8, 24, 112, 112)
    torch.testing.assert_close(norm.running_mean, output.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    assert not any(part.training for part in encoder.modules() if isinstance(part, nn.BatchNorm2d))


@pytest.mark.slow
def test_onnx_runtime_agrees_with_torch(encoder, encoder_path: Path, noise_tiles) -> None:
    """Largest absolute difference below 1e-4, for one tile and for several."""
    backend = OnnxEncoder(encoder_path, threads=1)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(noise_tiles)).numpy()
    assert expected.shape == (8, 1024)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(backend.encode(noise_tiles), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_features_do_not_depend_on_the_batch(encoder_path: Path, noise_tiles) -> None:
    """Bit for bit: batches of 1, 4 and 8, and the same tile beside others."""
    backend = OnnxEncoder(encoder_path, threads=1)
    whole = backend.encode(noise_tiles)
    fours = np.concatenate([backend.encode(noise_tiles[:4]), backend.encode(noise_tiles[4:])])
    ones = np.concatenate([backend.encode(noise_tiles[k : k + 1]) for k in range(8)])
    assert np.array_equal(fours, whole)
    assert np.array_equal(ones, whole)


@pytest.mark.slow
def test_the_graph_is_one_small_file_of_folded_convolutions(encoder_path: Path) -> None:
    """One file, no external data, no batch norm left, `tiles` uint8 NHWC to `features`."""
    assert encoder_path.stat().st_size < MAX_BYTES
    assert [p.name for p in encoder_path.parent.iterdir()] == ["model.onnx"]
    model = onnx.load(encoder_path)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(encoder_path, providers=["CPUExecutionProvider"])
    (tiles,), (features,) = session.get_inputs(), session.get_outputs()
    assert (tiles.name, tiles.type, tiles.shape) == (
        "tiles",
        "tensor(uint8)",
        ["batch", 224, 224, 3],
    )
    assert (features.name, features.type) == ("features", "tensor(float)")
