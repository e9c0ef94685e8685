"""Proof: a server with other models than the bundle's is found out before the first tile."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tritonclient import grpc

from deepsmile.backends.proof import Proof
from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import Bundle
from deepsmile.errors import BundleMismatch, DeepSmileError, InferenceUnavailable
from deepsmile.triton.config import CONFIG_FILE, Target, write_configs
from deepsmile.triton.connection import Connection, Transport
from deepsmile.triton.models import encoder_model
from deepsmile.triton.server import TritonServer
from tests.making import make_bundle
from tests.triton.conftest import StartServer, endpoint
from tests.triton.slow import SlowServer

pytestmark = pytest.mark.slow

Damage = Callable[[Path, str], None]
"""What is done to the models of a bundle on the server, after they were configured."""


def scale(model: Path, name: str, factor: float) -> None:
    """Multiply a constant of a graph."""
    graph = onnx.load(model)
    for constant in graph.graph.initializer:
        if constant.name == name:
            value = np.asarray(numpy_helper.to_array(constant) * factor, np.float32)
            constant.CopyFrom(numpy_helper.from_array(value, name))
    onnx.save(graph, model)


def replace(config: Path, old: str, new: str) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


def lying_encoder(root: Path, name: str) -> None:
    """Half a percent off, under the name of the right one."""
    scale(root / f"{name}_encoder/1/model.onnx", "scale", 1.005)


def lying_head(root: Path, name: str) -> None:
    scale(root / f"{name}_head/1/model.onnx", "weights", 1.005)


def missing_head(root: Path, name: str) -> None:
    shutil.rmtree(root / f"{name}_head")


def broken_encoder(root: Path, name: str) -> None:
    (root / f"{name}_encoder/1/model.onnx").write_bytes(b"no graph")


def honest_other(root: Path, name: str) -> None:
    """Another digest, as `deepsmile export` would write it for another file."""
    config = root / f"{name}_encoder" / CONFIG_FILE
    line = next(line for line in config.read_text().splitlines() if "deepsmile.sha256" in line)
    digest = line.split('"')[3]
    replace(config, digest, "c0ffee" + digest[6:])


def nameless(root: Path, name: str) -> None:
    replace(root / f"{name}_encoder" / CONFIG_FILE, "deepsmile.sha256.1", "somebody.else")


def other_shape(root: Path, name: str) -> None:
    replace(root / f"{name}_head" / CONFIG_FILE, "[ 2, -1 ]", "[ -1, -1 ]")


CASES: dict[str, tuple[Damage, type[DeepSmileError], str]] = {
    "honest": (honest_other, BundleMismatch, r"encoder version 1 is c0ffee\w{6} on the server"),
    "lying": (lying_encoder, BundleMismatch, "but gives other features"),
    "head": (lying_head, BundleMismatch, "but gives other logits"),
    "shape": (other_shape, BundleMismatch, r"\(-1, -1\)\)\] on the server, the contract says"),
    "missing": (missing_head, InferenceUnavailable, "missing_head version 1 is not ready"),
    "broken": (broken_encoder, InferenceUnavailable, "broken_encoder version 1 is not ready"),
    "nameless": (nameless, InferenceUnavailable, "does not say which file"),
}


@pytest.fixture(scope="module")
def museum(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """A sound bundle for each case."""
    root = tmp_path_factory.mktemp("museum")
    return {name: make_bundle(root, name) for name in CASES}


@pytest.fixture(scope="module")
def damaged(
    museum: dict[str, Bundle], start_server: StartServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """One server for all cases, each bundle damaged in its own way."""
    root = tmp_path_factory.mktemp("damaged") / "served"
    shutil.copytree(museum["honest"].root, root)
    write_configs(root, Target.CPU)
    for name, (damage, _, _) in CASES.items():
        damage(root, name)
    server = start_server(root)
    yield server
    server.kill()


@pytest.mark.parametrize("transport", ["auto", "grpc"])
def test_a_server_with_other_models_is_refused(
    museum: dict[str, Bundle], damaged: TritonServer, transport: Transport
) -> None:
    for name, (_, error, match) in CASES.items():
        with (
            pytest.raises(error, match=match),
            TritonBackend(museum[name], endpoint(damaged, transport, patience_s=0)),
        ):
            pass


def tiles_encoded(url: str, bundle: Bundle) -> int:
    """By the server's own count."""
    with grpc.InferenceServerClient(url) as client:
        told = client.get_inference_statistics(encoder_model(bundle).name)
    (model,) = told.model_stats
    return int(model.inference_count)


@pytest.mark.parametrize(("transport", "proofs"), [("shm", 1 + 1), ("grpc", 3 + 3)])
def test_a_server_is_proven_once_for_all_connections_whose_memory_it_has(
    slow: SlowServer, bundle: Bundle, transport: Transport, proofs: int
) -> None:
    """Before its use and after it; over gRPC nothing tells that two lead to the same."""
    before, batch = tiles_encoded(slow.url, bundle), np.zeros((4, 224, 224, 3), np.uint8)
    with (
        TritonBackend(bundle, endpoint(slow, transport, in_flight=3)) as remote,
        ThreadPoolExecutor(3) as pool,
        slow.pace(0.5),  # all three are under way at once
    ):
        list(pool.map(remote.encode, [batch] * 3))
    assert tiles_encoded(slow.url, bundle) == before + 3 * len(batch) + proofs


def test_without_onnx_runtime_what_the_server_says_is_all_there_is(
    museum: dict[str, Bundle], damaged: TritonServer
) -> None:
    with closing(Connection(endpoint(damaged))) as connection:
        Proof(museum["lying"], None).prove(connection)
        assert connection.is_proven
        with pytest.raises(BundleMismatch, match="c0ffee"):
            Proof(museum["honest"], None).prove(connection)
