"""Triton: the models of a bundle on an inference server, several requests in flight."""

import time
from collections.abc import Callable
from queue import LifoQueue
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepsmile.backends.onnx import OnnxBackend, onnxruntime_is_installed
from deepsmile.backends.proof import Proof
from deepsmile.bag import Features
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.errors import InferenceUnavailable
from deepsmile.slides.slide import RGB
from deepsmile.triton.config import MAX_BATCH
from deepsmile.triton.connection import Arrays, Connection, Endpoint
from deepsmile.triton.models import Model, encoder_model, head_model

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0


class TritonBackend:
    """Use it as a context around each slide: every connection is proven anew before it is used.

    Raises:
        BundleMismatch: the server's models are not the bundle's.
        InferenceUnavailable: no answer, however patiently it was asked.
    """

    def __init__(self, bundle: Bundle, endpoint: Endpoint) -> None:
        self.name, self.concurrency = "triton", endpoint.in_flight
        self._endpoint = endpoint
        self._encoder = encoder_model(bundle)
        self._heads = {head.name: head_model(bundle, head) for head in bundle.contract.heads}
        local = OnnxBackend(bundle, threads=1) if onnxruntime_is_installed() else None
        self._proof = Proof(bundle, local)
        self._idle: LifoQueue[Connection] = LifoQueue()

    def __enter__(self) -> Self:
        for _ in range(self.concurrency):
            self._idle.put(Connection(self._endpoint))
        try:
            connection = self._idle.get()
            self._idle.put(connection)
            self._patiently(lambda: self._sure(connection))
            how = "shared memory" if connection.shares_memory else "gRPC"
            self.name = f"{connection.server()} over {how}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while not self._idle.empty():
            self._idle.get().close()

    def encode(self, tiles: RGB) -> Features:
        parts = range(0, len(tiles), MAX_BATCH)
        found = [self._ask(self._encoder, tiles[at : at + MAX_BATCH])["features"] for at in parts]
        features: Features = found[0] if len(found) == 1 else np.concatenate(found)
        return features

    def score(
        self, head: Head, features: Features
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        answer = self._ask(self._heads[head.name], features)
        return answer["logits"], answer["attention"]

    def _ask(self, model: Model, array: NDArray[np.generic]) -> Arrays:
        connection = self._idle.get()
        try:
            return self._patiently(lambda: self._sure(connection).infer(model, array))
        finally:
            self._idle.put(connection)

    def _sure(self, connection: Connection) -> Connection:
        if not connection.is_proven:
            self._proof.prove(connection)
        return connection

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer; asking twice is safe, since no model remembers anything."""
        deadline, pause_s = time.monotonic() + self._endpoint.patience_s, FIRST_PAUSE_S
        while True:
            try:
                return ask()
            except InferenceUnavailable:
                if time.monotonic() + pause_s > deadline:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
