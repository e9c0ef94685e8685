"""ONNX Runtime in process: many caller threads on one session, each with one thread of its own."""

import importlib.util
import os
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile.bundle import Bundle, read_verified
from deepsmile.contract import Head
from deepsmile.errors import BackendMissing, BundleMismatch
from deepsmile.slides.slide import RGB

HEAD_OUTPUTS = ["logits", "attention"]
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
PREFERRED_PROVIDERS = (CUDA, CPU)
# As Triton is told (triton/config.py): by default every start would choose by timing, and a
# slide's scores could change with it.
OPTIONS = {CUDA: {"cudnn_conv_algo_search": "HEURISTIC"}, CPU: {}}
IDENTITY = (
    b'\x08\x08\x12\x00:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01'
    b"\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
"""The smallest graph: y = x. Of a session of it we learn what loads."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def onnxruntime_is_installed() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def installed_providers() -> list[str]:
    """The providers that onnxruntime was built with, best first."""
    if not onnxruntime_is_installed():
        return []
    import onnxruntime

    return [p for p in PREFERRED_PROVIDERS if p in onnxruntime.get_available_providers()]


@cache
def execution_providers() -> list[str]:
    """The providers that will be used, best first: without driver or libraries CUDA is not."""
    installed = installed_providers()
    if CUDA not in installed:
        return installed
    import onnxruntime

    with redirect_stdout(sys.stderr):  # it prints what it misses
        onnxruntime.preload_dlls()  # pip's CUDA libraries are on no loader's path
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    found: list[str] = _open(IDENTITY, options, installed).get_providers()
    return found


class OnnxEncoder:
    """An exported encoder by itself, as training runs it before there are heads.

    Raises:
        BackendMissing: no onnxruntime is installed.
        BundleMismatch: the file holds no graph that runs here.
        BundleCorrupt: its SHA-256 is not the one that was given.
    """

    def __init__(self, path: Path, threads: int, sha256: str | None = None) -> None:
        if not onnxruntime_is_installed():
            raise BackendMissing("onnxruntime is not installed")
        import onnxruntime

        self._encoder = _session(path, sha256, threads=1)
        self.name = f"onnxruntime {onnxruntime.__version__} {self._encoder.get_providers()[0]}"
        self.concurrency = threads

    def encode(self, tiles: RGB) -> Features:
        features: Features = self._encoder.run(None, {"tiles": tiles})[0]  # (B, D)
        return features


class OnnxBackend(OnnxEncoder):
    """A bundle's encoder and heads, loaded and checked against the contract.

    Raises:
        BackendMissing: no onnxruntime is installed.
        BundleMismatch: a graph's inputs or outputs are not those of the contract.
        BundleCorrupt: a model's file changed since the bundle was verified.
    """

    def __init__(self, bundle: Bundle, threads: int) -> None:
        super().__init__(bundle.encoder_path, threads, bundle.contract.features.encoder.sha256)
        self.runtime = self.name
        self._heads = {
            head.name: _session(bundle.head_path(head), head.sha256, threads)
            for head in bundle.contract.heads
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


def _session(path: Path, sha256: str | None, threads: int) -> Any:  # noqa: ANN401 - it has no types
    """Of the very bytes that were verified; a file may change while it is read."""
    import onnxruntime

    content = path.read_bytes() if sha256 is None else read_verified(path, sha256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the cores from the reader process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return _open(content, options, execution_providers())
    except _complaints() as error:
        raise BundleMismatch(f"a model file holds no graph that runs here: {error}") from error


def _open(content: bytes, options: Any, providers: list[str]) -> Any:  # noqa: ANN401
    import onnxruntime

    named = [(name, OPTIONS[name]) for name in providers]
    return onnxruntime.InferenceSession(content, options, providers=named)


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
