"""Triton: the models of a bundle on an inference server, several requests in flight."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import LifoQueue
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepsmile.backends.onnx import OnnxBackend, onnxruntime_is_installed
from deepsmile.backends.proof import Proof
from deepsmile.bag import Features
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.digest import Between, digest_of, nothing
from deepsmile.errors import InferenceUnavailable
from deepsmile.slides.slide import RGB
from deepsmile.triton.config import MAX_BATCH, digest_parameter
from deepsmile.triton.connection import Arrays, Connection, Endpoint
from deepsmile.triton.models import Model, encoder_model, head_model

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0


class TritonBackend:
    """Use it as a context around each slide: every server used is proven before and after it.

    A server may load other models, or make place for another server, and no request fails by it.
    So what was computed counts only once the context was left; only a server that changes and
    changes back in between is not found out. While it waits to ask again, `between` may stop it.

    Raises:
        BundleMismatch: the server's models are not the bundle's.
        InferenceUnavailable: no answer, however patiently it was asked.
    """

    def __init__(self, bundle: Bundle, endpoint: Endpoint, between: Between = nothing) -> None:
        self.runtime = self._server = "triton"
        self.concurrency = endpoint.in_flight
        self._endpoint, self._between = endpoint, between
        self._ways: set[str] = set()
        self._encoder = encoder_model(bundle)
        self._heads = {head.name: head_model(bundle, head) for head in bundle.contract.heads}
        local = OnnxBackend(bundle, threads=1) if onnxruntime_is_installed() else None
        self._proof = Proof(bundle, local)
        self._idle: LifoQueue[Connection] = LifoQueue()

    def __enter__(self) -> Self:
        for _ in range(self.concurrency - 1):
            self._idle.put(Connection(self._endpoint))
        self._first = Connection(self._endpoint)
        self._ways.clear()
        self._idle.put(self._first)
        try:
            self._patiently(self._meet_the_first)
            with suppress(InferenceUnavailable):  # the next slide does it
                self._first.forget_orphans()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._prove_again()
        finally:
            self._close()

    @property
    def name(self) -> str:
        """The server, and how tensors travelled since the context was entered, or would."""
        ways = sorted(self._ways or {self._first.way}, reverse=True)
        return f"{self._server} over {' and '.join(ways)}"

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
            self._patiently(lambda: self._sure(connection))
            answer = self._patiently(lambda: self._sure(connection).infer(model, array))
            self._ways.add(connection.way)
            return answer
        finally:
            self._idle.put(connection)

    def _meet_the_first(self) -> None:
        connection = self._first
        self._proof.prove(connection)
        self._server, config = connection.server(), connection.config(self._encoder)
        self.runtime = f"{self._server} {digest_of(arithmetic(config))}"

    def _prove_again(self) -> None:
        """Every server that was used: one for all connections whose memory it has, or one each."""

        def prove(connection: Connection) -> None:
            self._patiently(lambda: self._proof.prove(connection))

        used = [connection for connection in self._idle.queue if connection.is_proven]
        if not used:
            return
        there = self._patiently(lambda: self._memory_of_proven(used[0]))
        strangers = [other for other in used[1:] if not there.intersection(other.memory)]
        with ThreadPoolExecutor(self.concurrency) as pool:
            for _ in pool.map(prove, strangers):
                pass

    def _memory_of_proven(self, connection: Connection) -> frozenset[str]:
        self._proof.prove(connection)
        return connection.memory_there()

    def _close(self) -> None:
        while not self._idle.empty():
            self._idle.get().close()

    def _sure(self, connection: Connection) -> Connection:
        if not connection.is_proven:
            if connection.is_new and self._is_of_the_first(connection):
                connection.is_proven = True
            else:
                self._proof.prove(connection)
        return connection

    def _is_of_the_first(self, connection: Connection) -> bool:
        """Whether the server behind a connection has the memory of the first, so is that one's."""
        connection.shares_memory = self._first.shares_memory
        return self._first.is_proven and not self._first.memory.isdisjoint(
            connection.memory_there()
        )

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer; asking twice is safe, since no model remembers anything."""
        deadline, pause_s = time.monotonic() + self._endpoint.patience_s, FIRST_PAUSE_S
        while True:
            try:
                return ask()
            except InferenceUnavailable:
                if time.monotonic() + pause_s > deadline:
                    raise
            self._between()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def arithmetic(config: dict[str, Any]) -> dict[str, Any]:
    """What of a model's configuration can change a bit of what it computes: not which model it is.

    A server that starts says where it runs instead of KIND_AUTO.
    """
    told = {key: config.get(key) for key in ("platform", "runtime", "optimization")}
    kinds = [group["kind"] for group in config.get("instance_group", [])]
    parameters = config.get("parameters", {})
    options = {k: v for k, v in parameters.items() if not k.startswith(digest_parameter(""))}
    return {**told, "kinds": kinds, "options": options}
