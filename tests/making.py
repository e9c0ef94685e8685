"""Makers of small slides and bundles for tests: synthetic, seeded, no third-party pixels."""

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import tifffile
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from deepsmile.bundle import Bundle, write_bundle
from deepsmile.contract import FeatureContract
from deepsmile.digest import digest_of_file

FEATURE_DIM = 6
GLASS = 244


def tissue_image(width: int, height: int, seed: int = 0, tissue: float = 0.6) -> NDArray[np.uint8]:
    """A pink-violet ellipse with dark nuclei on glass of grey 244, (height, width, 3).

    `tissue` is the ellipse's share of each side; 0 gives bare glass.
    """
    return _tissue_image(width, height, seed, tissue).copy()


@cache
def _tissue_image(width: int, height: int, seed: int, tissue: float) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    image = _bytes(rng.normal(GLASS, 1.0, (height, width, 1))).repeat(3, axis=2)  # (h, w, 3)
    if tissue > 0:
        mask = np.zeros((height, width), np.uint8)  # (h, w)
        axes = (int(width * tissue / 2), int(height * tissue / 2))
        cv2.ellipse(mask, (width // 2, height // 2), axes, 0, 0, 360, 1, cv2.FILLED)
        grain = rng.normal(0, 12, (height, width, 1))  # (h, w, 1)
        image[mask > 0] = _bytes(np.array([214, 150, 196]) + grain[mask > 0])
        for _ in range(int(mask.sum()) // 400):
            x, y = int(rng.integers(width)), int(rng.integers(height))
            if mask[y, x]:
                cv2.circle(image, (x, y), int(rng.integers(3, 6)), (96, 62, 140), cv2.FILLED)
    return image


def _bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(values, 0, 255).astype(np.uint8)


def write_tiff(
    path: Path,
    image: NDArray[np.uint8],
    *,
    mpp: float | None = 0.5,
    levels: int = 3,
    **options: Any,
) -> Path:
    """A tiled pyramid (each level half the last), JPEG unless `options` say otherwise."""
    options = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb", **options}
    if mpp is not None:
        options.update(resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER")
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            page = image if level == 0 else halved(image, level)
            writer.write(page, subfiletype=int(level > 0), metadata=None, **options)
    return path


def halved(image: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """Shrink (h, w, 3) by 2 ** times."""
    size = (image.shape[1] >> times, image.shape[0] >> times)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def write_svs(path: Path, image: NDArray[np.uint8], mpp: str = "0.5", levels: int = 2) -> Path:
    """Aperio's layout, each level a quarter of the last; `mpp` is written as it is given."""
    height, width = image.shape[:2]
    first = f"Aperio Image Library v12.0.15 \r\n{width}x{height} (256x256) JPEG/RGB Q=80"
    first += "|AppMag = 20" + (f"|MPP = {mpp}" if mpp else "")
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            page = image if level == 0 else halved(image, 2 * level)
            text = first if level == 0 else f"Aperio Image Library v12.0.15 \r\nlevel {level}"
            writer.write(
                page,
                tile=(256, 256),
                compression="jpeg",
                photometric="rgb",
                description=text,
                metadata=None,
            )
    return path


def feature_contract(**changes: Any) -> FeatureContract:
    """The demo's rules with a tiny encoder; `changes` replace whole sections."""
    sections: dict[str, Any] = {
        "tile": {"size_um": 256.0, "size_px": 224, "origin_um": (0.0, 0.0), "edge": "drop"},
        "pixels": {
            "level_tolerance": 1.02,
            "resample": "halve_then_bilinear",
            "upsample": False,
            "colour": "as_stored",
        },
        "mpp": {"min": 0.05, "max": 20.0, "max_anisotropy": 1.1},
        "overview": {"tile_px": 32},
        "tissue": {
            "rule": "grey_sobel",
            "grey": 240.0,
            "gradient": 15.0,
            "max_background": 0.5,
            "glass": {"min_grey": 225.0, "min_share": 0.005},
            "overview_max_background": 0.7,
        },
        "stain": {
            "rule": "he_hue",
            "dark_grey": 40.0,
            "max_dark": 0.5,
            "min_saturation": 0.08,
            "hue_deg": (240.0, 360.0),
            "min_share": 0.5,
        },
        "budget": {"max_tiles": None, "seed": 0},
        "encoder": {"name": "tiny-encoder", "sha256": "0" * 64, "feature_dim": FEATURE_DIM},
    }
    return FeatureContract.model_validate({**sections, **changes})


def make_bundle(root: Path, name: str = "tiny", *, members: int = 2, min_tiles: int = 2) -> Bundle:
    """A bundle of an encoder that averages colours and a mean-pooling head; scores in milliseconds.

    The encoder gives mean and mean square of each channel (D = 6); the head is linear on the
    mean feature, with a different weight for each member.
    """
    encoder, head = root / f"{name}_encoder/1/model.onnx", root / f"{name}_head/1/model.onnx"
    _save(_tiny_encoder(), encoder)
    _save(_tiny_head(members), head)
    card = root / f"{name}.card.md"
    card.write_text("# Tiny test bundle\n\nNo meaning at all.\n")
    features = feature_contract(
        encoder={
            "name": "tiny-encoder",
            "sha256": digest_of_file(encoder),
            "feature_dim": FEATURE_DIM,
        }
    )
    head_contract = {
        "name": "redness",
        "sha256": digest_of_file(head),
        "members": members,
        "negative": "pale",
        "positive": "red",
        "min_tiles": min_tiles,
        "calibration": {"method": "platt", "slope": 0.5, "intercept": 0.1},
        "operating_points": [{"name": "half", "threshold": 0.5, "basis": "made up"}],
        "decision": "half",
        "conformal": None,
        "novelty": None,
    }
    contract = {"features": features.model_dump(mode="json"), "heads": [head_contract]}
    return write_bundle(
        root,
        {
            "format": "deepsmile-bundle/1",
            "name": name,
            "version": "1",
            "notice": "Test bundle, no meaning.",
            "contract": contract,
            "files": {
                p.relative_to(root).as_posix(): digest_of_file(p) for p in (encoder, head, card)
            },
            "card": card.name,
            "provenance": {"made_by": "tests/making.py"},
        },
    )


def _save(model: onnx.ModelProto, path: Path) -> None:
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _constant(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def _tiny_encoder() -> onnx.ModelProto:
    # Pooled as convolutional encoders do it: ReduceMean would sum in an order that depends on the
    # batch, and then a setting would change the last digits of a score.
    nodes = [
        helper.make_node("Cast", ["tiles"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "planes"], ["squared"]),
        helper.make_node("Concat", ["planes", "squared"], ["both"], axis=1),
        helper.make_node(
            "AveragePool", ["both"], ["coarse"], kernel_shape=[14, 14], strides=[14, 14]
        ),
        helper.make_node("GlobalAveragePool", ["coarse"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["batch", 224, 224, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", FEATURE_DIM])],
        [_constant("scale", np.float32(255))],
    )
    return _model(graph)


def _tiny_head(members: int) -> onnx.ModelProto:
    weights = np.zeros((members, 2, FEATURE_DIM), np.float32)  # (M, 2, D)
    weights[:, 1, 0] = 1 + np.arange(members)
    weights[:, 1, 1] = -1 - np.arange(members)
    nodes = [
        helper.make_node("ReduceMean", ["features", "axis"], ["bag"], keepdims=1),
        helper.make_node("Transpose", ["bag"], ["column"], perm=[1, 0]),
        helper.make_node("MatMul", ["weights", "column"], ["stacked"]),
        helper.make_node("Squeeze", ["stacked", "last"], ["logits"]),
        helper.make_node("MatMul", ["features", "nothing"], ["zeros"]),
        helper.make_node("Transpose", ["zeros"], ["rows"], perm=[1, 0]),
        helper.make_node("Softmax", ["rows"], ["attention"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["tiles", FEATURE_DIM])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [members, 2]),
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, [members, "tiles"]),
        ],
        [
            _constant("weights", weights),
            _constant("axis", np.array([0], np.int64)),
            _constant("last", np.array([2], np.int64)),
            _constant("nothing", np.zeros((FEATURE_DIM, members), np.float32)),
        ],
    )
    return _model(graph)
