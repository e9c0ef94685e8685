"""Backends: models that fit their contract, and the same numbers on any number of threads."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from deepsmile.backends.onnx import OnnxBackend, available_cores, execution_providers
from deepsmile.bundle import Bundle, write_bundle
from deepsmile.digest import digest_of_file
from deepsmile.errors import BundleMismatch
from deepsmile.settings import Settings
from tests.fake_backend import mean_and_square
from tests.making import FEATURE_DIM

ENCODER, HEAD = "tiny_encoder/1/model.onnx", "tiny_head/1/model.onnx"


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.root, tmp_path / "repository"))


def resealed(repository: Path, **changes: Any) -> Bundle:
    """The bundle with the digests of the files as they are now, and other contract sections."""
    content = json.loads((repository / "tiny.bundle.json").read_text())
    del content["digest"]
    content["files"] = {name: digest_of_file(repository / name) for name in content["files"]}
    features, head = content["contract"]["features"], content["contract"]["heads"][0]
    features["encoder"] |= {"sha256": content["files"][ENCODER], **changes.get("encoder", {})}
    features["tile"] |= changes.get("tile", {})
    head |= {"sha256": content["files"][HEAD], **changes.get("head", {})}
    return write_bundle(repository, content)


def edit_model(path: Path, edit: Any) -> None:
    model = onnx.load(path)
    edit(model.graph)
    onnx.save(model, path)


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a value of a graph another name wherever it stands."""
    for value in (*graph.input, *graph.output):
        value.name = new if value.name == old else value.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def test_the_tiny_encoder_gives_means_and_mean_squares(backend: OnnxBackend) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    np.testing.assert_allclose(backend.encode(tiles), mean_and_square(tiles), atol=1e-5)


def test_the_tiny_head_gives_logits_and_even_attention(
    backend: OnnxBackend, bundle: Bundle
) -> None:
    """Member m: (m + 1) * (mean red - mean green); the first class is 0."""
    features = np.random.default_rng(0).random((5, FEATURE_DIM), np.float32)
    logits, attention = backend.score(bundle.contract.heads[0], features)
    redness = features[:, 0].mean() - features[:, 1].mean()
    np.testing.assert_allclose(logits, [[0, redness], [0, 2 * redness]], atol=1e-6)
    np.testing.assert_allclose(attention, np.full((2, 5), 0.2), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"encoder": {"feature_dim": 7}}, r"two tiles into \[\(2, 6\)\], not \(2, 7\)"),
        ({"tile": {"size_px": 256}}, "a graph refuses tiles"),
        ({"head": {"members": 3}}, r"head redness turns two tiles' features into \[\(2, 2\)"),
    ],
)
def test_a_contract_that_the_graphs_do_not_fit_is_a_mismatch(
    copied: Path, changes: dict[str, Any], match: str
) -> None:
    """HOUSE STYLE 27: at the door, not in the middle of a job."""
    with pytest.raises(BundleMismatch, match=match):
        OnnxBackend(resealed(copied, **changes), threads=1)


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        (ENCODER, lambda graph: rename(graph, "tiles", "images")),
        (HEAD, lambda graph: rename(graph, "features", "bag_of_tiles")),
        (HEAD, lambda graph: rename(graph, "logits", "scores")),
        (HEAD, lambda graph: rename(graph, "attention", "weights_of_tiles")),
    ],
    ids=["tiles", "features", "logits", "attention"],
)
def test_a_graph_whose_values_have_other_names_is_a_mismatch(
    copied: Path, file: str, edit: Any
) -> None:
    edit_model(copied / file, edit)
    with pytest.raises(BundleMismatch, match="a graph refuses"):
        OnnxBackend(resealed(copied), threads=1)


def test_the_order_of_a_head_s_outputs_does_not_matter(copied: Path) -> None:
    """They are asked for by name."""

    def swap(graph: onnx.GraphProto) -> None:
        outputs = list(graph.output)[::-1]
        del graph.output[:]
        graph.output.extend(outputs)

    edit_model(copied / HEAD, swap)
    loaded = resealed(copied)
    features = np.random.default_rng(0).random((5, FEATURE_DIM), np.float32)
    logits, attention = OnnxBackend(loaded, threads=1).score(loaded.contract.heads[0], features)
    assert (logits.shape, attention.shape) == ((2, 2), (2, 5))


def test_an_encoder_for_one_tile_at_a_time_is_a_mismatch(copied: Path) -> None:
    def fix_batch(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    edit_model(copied / ENCODER, fix_batch)
    with pytest.raises(BundleMismatch, match="a graph refuses tiles"):
        OnnxBackend(resealed(copied), threads=1)


@pytest.mark.parametrize(
    "text", [b"", b"no model", b"\x08\x09" * 50], ids=["empty", "text", "junk"]
)
@pytest.mark.parametrize("file", [ENCODER, HEAD])
def test_a_file_that_is_no_model_is_a_mismatch(copied: Path, file: str, text: bytes) -> None:
    """Sealed by mistake: the digest is right, the content is not."""
    (copied / file).write_bytes(text)
    with pytest.raises(BundleMismatch):
        OnnxBackend(resealed(copied), threads=1)


def test_results_do_not_depend_on_threads(bundle: Bundle) -> None:
    """HOUSE STYLE 7: threads are a setting, and no setting changes a score."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (8, 224, 224, 3), np.uint8)
    features = rng.random((3000, FEATURE_DIM), np.float32)
    head = bundle.contract.heads[0]
    one = OnnxBackend(bundle, threads=1)
    for threads in (2, 4):
        many = OnnxBackend(bundle, threads)
        assert many.concurrency == threads
        np.testing.assert_array_equal(many.encode(tiles), one.encode(tiles))
        np.testing.assert_array_equal(many.score(head, features)[0], one.score(head, features)[0])


def test_callers_at_once_get_each_their_own_features(backend: OnnxBackend) -> None:
    batches = [np.full((2, 224, 224, 3), shade, np.uint8) for shade in range(0, 250, 10)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(backend.encode, batches))
    for batch, features in zip(batches, found, strict=True):
        np.testing.assert_array_equal(features, backend.encode(batch))


def test_a_tile_s_features_do_not_depend_on_its_batch(backend: OnnxBackend) -> None:
    """The batch size is a setting too."""
    tiles = np.random.default_rng(0).integers(0, 256, (7, 224, 224, 3), np.uint8)
    alone = np.concatenate([backend.encode(tile[None]) for tile in tiles])
    np.testing.assert_array_equal(backend.encode(tiles), alone)


def test_its_name_tells_runtime_and_provider(backend: OnnxBackend) -> None:
    runtime, version, provider = backend.name.split()
    assert (runtime, version[0].isdigit()) == ("onnxruntime", True)
    assert provider == execution_providers()[0]
    assert available_cores() >= 1


def test_a_triton_server_gets_larger_batches() -> None:
    assert Settings().batch == 4
    assert Settings(triton_url="127.0.0.1:8001").batch == 16
    assert Settings(triton_url="127.0.0.1:8001", encoder_batch=7).batch == 7
