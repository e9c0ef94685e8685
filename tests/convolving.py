"""Maker of a small convolutional encoder in a bundle of its own, for tests of precision."""

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from deepsmile.bundle import Bundle, write_bundle
from deepsmile.digest import digest_of_file
from tests.making import FEATURE_DIM, make_bundle

CHANNELS = 8
MEAN, DEVIATION = (0.8, 0.6, 0.75), (0.1, 0.2, 0.1)

Weights = NDArray[np.float32]


def first_weights(loud: float = 1.0) -> Weights:
    """(CHANNELS, 3, 3, 3); channel 0 is `loud` times the others, and nothing reads it."""
    weights = np.random.default_rng(1).normal(0, 0.3, (CHANNELS, 3, 3, 3)).astype(np.float32)
    weights[0] = loud * np.abs(weights[0])
    return weights


def second_weights() -> Weights:
    """(FEATURE_DIM, CHANNELS, 3, 3)."""
    weights = np.random.default_rng(2).normal(0, 0.2, (FEATURE_DIM, CHANNELS, 3, 3))
    weights[:, 0] = 0
    return weights.astype(np.float32)


def conv_encoder(path: Path, *, loud: float = 1.0, named: bool = True) -> Path:
    """Normalise, two convolutions with ReLU, a maximum between them, and the mean: (B, 6)."""
    constants = {
        "scale": np.float32(255),
        "mean": np.array(MEAN, np.float32).reshape(3, 1, 1),
        "deviation": np.array(DEVIATION, np.float32).reshape(3, 1, 1),
        "first": first_weights(loud),
        "second": second_weights(),
    }
    steps = [
        ("Transpose", ["tiles"], "planes", {"perm": [0, 3, 1, 2]}),
        ("Cast", ["planes"], "floats", {"to": TensorProto.FLOAT}),
        ("Div", ["floats", "scale"], "unit", {}),
        ("Sub", ["unit", "mean"], "centred", {}),
        ("Div", ["centred", "deviation"], "normal", {}),
        ("Conv", ["normal", "first"], "edges", {"strides": [4, 4], "pads": [1, 1, 1, 1]}),
        ("Relu", ["edges"], "lit", {}),
        ("MaxPool", ["lit"], "coarse", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", ["coarse", "second"], "shapes", {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("Relu", ["shapes"], "seen", {}),
        ("GlobalAveragePool", ["seen"], "pooled", {}),
        ("Flatten", ["pooled"], "features", {"axis": 1}),
    ]
    nodes = [
        helper.make_node(op, inputs, [output], name=f"to_{output}" if named else "", **attributes)
        for op, inputs, output, attributes in steps
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["batch", 224, 224, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", FEATURE_DIM])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def conv_bundle(root: Path, *, loud: float = 1.0) -> Bundle:
    """The bundle "tiny" with that encoder; its head weighs two of the features."""
    made = make_bundle(root)
    conv_encoder(made.encoder_path, loud=loud)
    content = json.loads((root / "tiny.bundle.json").read_text())
    del content["digest"]
    sha256 = digest_of_file(made.encoder_path)
    content["contract"]["features"]["encoder"]["sha256"] = sha256
    content["files"][made.encoder_path.relative_to(root).as_posix()] = sha256
    return write_bundle(root, content)
