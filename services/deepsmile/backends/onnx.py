"""ONNX Runtime in process: many caller threads on one session, each with one thread of its own."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.errors import BackendMissing, BundleMismatch
from deepsmile.slides.slide import RGB

HEAD_OUTPUTS = ["logits", "attention"]
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
PREFERRED_PROVIDERS = (CUDA, CPU)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def onnxruntime_is_installed() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def execution_providers() -> list[str]:
    """The providers that will be used, best first."""
    if not onnxruntime_is_installed():
        return []
    import onnxruntime

    return [p for p in PREFERRED_PROVIDERS if p in onnxruntime.get_available_providers()]


class OnnxEncoder:
    """An exported encoder by itself, as training runs it before there are heads.

    Raises:
        BackendMissing: no onnxruntime is installed.
        BundleMismatch: the file holds no graph that runs here.
    """

    def __init__(self, path: Path, threads: int) -> None:
        if not onnxruntime_is_installed():
            raise BackendMissing("onnxruntime is not installed")
        import onnxruntime

        self.name = f"onnxruntime {onnxruntime.__version__} {execution_providers()[0]}"
        self.concurrency = threads
        self._encoder = _session(path, threads=1)

    def encode(self, tiles: RGB) -> Features:
        features: Features = self._encoder.run(None, {"tiles": tiles})[0]  # (B, D)
        return features


class OnnxBackend(OnnxEncoder):
    """A bundle's encoder and heads, loaded and checked against the contract.

    Raises:
        BackendMissing: no onnxruntime is installed.
        BundleMismatch: a graph's inputs or outputs are not those of the contract.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        super().__init__(bundle.encoder_path, threads)
        self.runtime = self.name
        self._heads = {
            head.name: _session(bundle.head_path(head), threads) for head in bundle.contract.heads
        }
        self._check(bundle)

    def score(
        self, head: Head, features: Features
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, attention = self._heads[head.name].run(HEAD_OUTPUTS, {"features": features})
        return logits, attention

    def _check(self, bundle: Bundle) -> None:
        features = bundle.contract.features
        size, dim = features.tile.size_px, features.encoder.feature_dim
        two_tiles = np.zeros((2, size, size, 3), np.uint8)
        found = _shapes_of(self._encoder, None, {"tiles": two_tiles})
        if found != [(2, dim)]:
            raise BundleMismatch(f"the encoder turns two tiles into {found}, not (2, {dim})")
        feed = {"features": np.zeros((2, dim), np.float32)}
        for head in bundle.contract.heads:
            found = _shapes_of(self._heads[head.name], HEAD_OUTPUTS, feed)
            if found != [(head.members, 2), (head.members, 2)]:
                raise BundleMismatch(f"head {head.name} turns two tiles' features into {found}")


def _session(path: Path, threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the cores from the reader process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=execution_providers())
    except _complaints() as error:
        raise BundleMismatch(f"a model file holds no graph that runs here: {error}") from error


def _shapes_of(
    session: Any,  # noqa: ANN401
    outputs: list[str] | None,
    feed: dict[str, Any],
) -> list[tuple[int, ...]]:
    try:
        return [output.shape for output in session.run(outputs, feed)]
    except _complaints() as error:
        raise BundleMismatch(f"a graph refuses {', '.join(feed)}: {error}") from error


def _complaints() -> tuple[type[Exception], ...]:
    """What onnxruntime raises; its own exceptions have no base in common but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as ort

    own = (ort.Fail, ort.InvalidArgument, ort.InvalidGraph, ort.InvalidProtobuf)
    return (ValueError, *own, ort.NotImplemented, ort.RuntimeException)
