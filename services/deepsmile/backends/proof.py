"""Proof: that the models on a server are those of a bundle, by what they say and what they do."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.errors import BundleMismatch, InferenceUnavailable
from deepsmile.triton.config import digest_parameter
from deepsmile.triton.connection import Arrays, Connection, Overloaded
from deepsmile.triton.models import Model, encoder_model, head_model

TOLERANCE = 2e-3
"""Largest distance from the expected outputs, relative to their length: room for a GPU's TF32, and
none for another model."""
TILES = 1
"""For the encoder: before every slide and after it, for each server; each connection, over gRPC."""
BAG = 2
"""Tiles for a head; the variance of one would be zero whatever it computes."""


@dataclass(frozen=True)
class Probe:
    """One model, something fixed to send through it, and what should come out."""

    model: Model
    array: NDArray[Any]
    expected: Arrays
    """From the bundle's own files in this process; empty where they cannot run."""


class Proof:
    """What is needed to verify servers for one bundle, computed once.

    With the bundle's models in this process, a server must give what they give. Without, it must
    say that it has them, and its answers must have the right shapes; what it says is believed.
    """

    def __init__(self, bundle: Bundle, local: OnnxBackend | None) -> None:
        self._probes = [_encoder_probe(bundle, local)]
        self._probes += [_head_probe(bundle, head, local) for head in bundle.contract.heads]

    def prove(self, connection: Connection) -> None:
        """Verify the server behind a connection, and find out how tensors travel best.

        Raises:
            BundleMismatch: it has other models.
            InferenceUnavailable: it has them not yet, or does not answer.
        """
        for probe in self._probes:
            check_config(probe.model, connection.config(probe.model))
        connection.shares_memory = connection.transport != "grpc"
        try:
            self._probe(connection)
        except Overloaded:  # no way of travelling is to blame
            raise
        except (BundleMismatch, InferenceUnavailable):
            if connection.transport != "auto":
                raise
            connection.shares_memory = False
            self._probe(connection)
        connection.is_proven = True

    def _probe(self, connection: Connection) -> None:
        for probe in self._probes:
            found = connection.infer(probe.model, probe.array)
            for name, expected in probe.expected.items():
                _compare(probe.model, name, found[name], expected)


def check_config(model: Model, config: dict[str, Any]) -> None:
    """What the server says of a model.

    Raises:
        BundleMismatch: another digest, or other inputs and outputs than the contract's.
        InferenceUnavailable: no digest; its configuration is yet to be written or loaded.
    """
    what = f"{model.name} version {model.version}"
    parameter = config.get("parameters", {}).get(digest_parameter(model.version))
    if parameter is None:
        raise InferenceUnavailable(
            f"the server does not say which file {what} is",
            hint="Run `deepsmile export` on the server's model repository, and let it reload.",
        )
    if parameter["string_value"] != model.sha256:
        raise BundleMismatch(
            f"{what} is {parameter['string_value'][:12]} on the server,"
            f" {model.sha256[:12]} in the bundle",
            hint="Serve the bundle's own model repository.",
        )
    told = [_told(tensor) for part in ("input", "output") for tensor in config[part]]
    tensors = (model.input, *model.outputs)
    expected = [(tensor.name, f"TYPE_{tensor.type}", tensor.dims) for tensor in tensors]
    if told != expected or (config.get("max_batch_size", 0) > 0) != model.is_batched:
        raise BundleMismatch(
            f"{what} has {told} on the server, the contract says {expected}",
            hint="Run `deepsmile export` on the server's model repository, and let it reload.",
        )


def _told(tensor: dict[str, Any]) -> tuple[str, str, tuple[int, ...]]:
    return tensor["name"], tensor["data_type"], tuple(int(dim) for dim in tensor["dims"])


def _encoder_probe(bundle: Bundle, local: OnnxBackend | None) -> Probe:
    model = encoder_model(bundle)
    tiles = np.random.default_rng(0).integers(
        0, 256, model.shape(model.input, TILES), np.uint8
    )  # (1, size, size, 3)
    expected = {} if local is None else {"features": local.encode(tiles)}
    return Probe(model, tiles, expected)


def _head_probe(bundle: Bundle, head: Head, local: OnnxBackend | None) -> Probe:
    model = head_model(bundle, head)
    shape = model.shape(model.input, BAG)
    features = np.random.default_rng(0).standard_normal(shape, np.float32)  # (2, D)
    names = (tensor.name for tensor in model.outputs)
    expected = {} if local is None else dict(zip(names, local.score(head, features), strict=True))
    return Probe(model, features, expected)


def _compare(
    model: Model, name: str, found: NDArray[np.float32], expected: NDArray[np.float32]
) -> None:
    distance = float(np.linalg.norm(found - expected))
    if not distance <= TOLERANCE * float(np.linalg.norm(expected)):
        raise BundleMismatch(
            f"{model.name} version {model.version} says that it is {model.sha256[:12]}, but gives"
            f" other {name}",
            hint="Restore the server's model files from their source, and let it reload.",
        )
