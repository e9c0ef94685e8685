"""Connection: one request at a time to a Triton server, through shared memory where that works."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepsmile.errors import BackendMissing, BundleMismatch, InferenceUnavailable
from deepsmile.triton.models import NUMPY_TYPES, Model
from deepsmile.triton.shared import SharedRegion, is_orphan

Arrays = dict[str, NDArray[np.float32]]
Transport = Literal["auto", "shm", "grpc"]

CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A TCP connection of its own: one alone tops out at 2 to 3 thousand tiles per second.
    ("grpc.use_local_subchannel_pool", 1),
    # Left alone, it waits up to two minutes before it looks for a restarted server again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
REFUSED, LATE = "StatusCode.INVALID_ARGUMENT", "StatusCode.DEADLINE_EXCEEDED"
QUEUE_FULL = "Exceeds maximum queue size"
GOODBYE_S = 1.0
ALIGNMENT = 64


@dataclass(frozen=True)
class Endpoint:
    """Where a server is, and how it is spoken to."""

    url: str
    """host:port of its gRPC service."""
    transport: Transport
    in_flight: int
    timeout_s: float
    patience_s: float


class Overloaded(InferenceUnavailable):
    """The server lives, and has more to do than it can answer in time."""


class Connection:
    """A channel to a server; not for two threads at once.

    Its methods raise InferenceUnavailable for what may pass, and BundleMismatch for a server that
    refuses what the contract says it takes, or gives something else than it says.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._grpc = tritonclient_grpc()
        self._endpoint, self.transport = endpoint, endpoint.transport
        self._client = self._grpc.InferenceServerClient(endpoint.url, channel_args=CHANNEL)
        self._region: SharedRegion | None = None
        self._registered: list[str] = []
        self._timeout_s = endpoint.timeout_s
        self.shares_memory = False
        """Whether tensors go through shared memory, as far as there is room; set it freely."""
        self.is_proven = False
        """Whether the server behind it was verified since the last failure."""
        self.is_new = True
        """Whether nothing has failed on it yet."""

    def server(self) -> str:
        """Name and version of the server."""
        with self._asking("who it is"):
            found = self._client.get_server_metadata(client_timeout=self._timeout_s)
        return f"{found.name} {found.version}"

    def config(self, model: Model) -> dict[str, Any]:
        """The configuration of a model that is ready, as JSON."""
        with self._asking(f"for {model.name} version {model.version}"):
            place = {"model_name": model.name, "model_version": model.version}
            timeout_s = self._timeout_s
            is_ready = self._client.is_model_ready(**place, client_timeout=timeout_s)
            if not is_ready:
                raise InferenceUnavailable(
                    f"{model.name} version {model.version} is not ready on the server"
                )
            told = self._client.get_model_config(**place, as_json=True, client_timeout=timeout_s)
        config: dict[str, Any] = told["config"]
        return config

    @property
    def way(self) -> str:
        """How the last tensors travelled, in words."""
        return "shared memory" if self.shares_memory else "gRPC"

    @property
    def memory(self) -> frozenset[str]:
        """Names of what it has registered with its server; no other connection has them."""
        return frozenset(self._registered)

    def memory_there(self) -> frozenset[str]:
        """Names that its server knows, of all clients since it started; none without sharing."""
        if not self.shares_memory:
            return frozenset()
        with self._asking("what memory it shares"):
            told = self._client.get_system_shared_memory_status(client_timeout=self._timeout_s)
        return frozenset(told.regions)

    def forget_orphans(self) -> None:
        """Have a server that shares our memory let go of that of clients that were killed.

        Only once it was proven to: of a server elsewhere every file is missing here.
        """
        for name in filter(is_orphan, self.memory_there()):
            with suppress(self._grpc.InferenceServerException):  # it still writes to it
                self._client.unregister_system_shared_memory(name, client_timeout=self._timeout_s)

    def infer(self, model: Model, array: NDArray[np.generic]) -> Arrays:
        """Send tiles or a bag through a model; the outputs by name."""
        array = np.ascontiguousarray(array)
        places = _places(model, len(array), array.nbytes)
        with self._asking(f"{model.name} version {model.version}"):
            region = self._reserve(places[-1].end)
            result = self._client.infer(
                model.name,
                [self._given(model, array, region)],
                model_version=model.version,
                outputs=[self._wanted(place, region) for place in places],
                client_timeout=self._timeout_s,
            )
        _check_answer(model, len(array), result.get_response())
        return {
            place.name: region.get(place.shape, place.dtype, place.offset)
            if region is not None
            else result.as_numpy(place.name)
            for place in places
        }

    def close(self) -> None:
        """Take leave of the server; memory that it still writes to it keeps until it ends."""
        self._abandon()
        for name in self._registered:
            with suppress(self._grpc.InferenceServerException):
                self._client.unregister_system_shared_memory(name, client_timeout=GOODBYE_S)
        self._client.close()

    def _given(self, model: Model, array: NDArray[np.generic], region: SharedRegion | None) -> Any:  # noqa: ANN401
        given = self._grpc.InferInput(model.input.name, array.shape, model.input.type)
        if region is None:
            return given.set_data_from_numpy(array)
        region.put(array)
        return given.set_shared_memory(region.name, array.nbytes)

    def _wanted(self, place: "_Place", region: SharedRegion | None) -> Any:  # noqa: ANN401
        wanted = self._grpc.InferRequestedOutput(place.name)
        if region is not None:
            wanted.set_shared_memory(region.name, place.size, place.offset)
        return wanted

    def _reserve(self, size: int) -> SharedRegion | None:
        """A registered region of at least `size` bytes; None: tensors go over the wire."""
        if not self.shares_memory:
            return None
        if self._region is None or self._region.size < size:
            self._abandon()
            try:
                region = SharedRegion(size)
            except InferenceUnavailable:
                if self.transport == "shm":
                    raise
                self.shares_memory = False
                return None
            self._region = region
            self._client.register_system_shared_memory(
                region.name, region.name, size, client_timeout=self._timeout_s
            )
            self._registered.append(region.name)
        return self._region

    def _abandon(self) -> None:
        """Never use the region again: a late answer may still be written to it."""
        if self._region is not None:
            self._region.close()
            self._region = None

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """What fails in here is told in our words; all but overload puts the server in doubt."""
        try:
            yield
        except self._grpc.InferenceServerException as error:
            told = f"Triton, asked {what}: {error.message()}"
            if QUEUE_FULL in told:
                raise Overloaded(told) from error
            self._abandon()
            if error.status() == LATE and self._is_alive():
                # The same wait would be as vain, and whoever asks again is last in the queue.
                self._timeout_s *= 2
                raise Overloaded(told) from error
            self.is_proven = self.is_new = False
            if error.status() == REFUSED:
                raise BundleMismatch(f"Triton refuses {what}: {error.message()}") from error
            raise InferenceUnavailable(told) from error

    def _is_alive(self) -> bool:
        try:
            alive: bool = self._client.is_server_live(client_timeout=self._endpoint.timeout_s)
        except self._grpc.InferenceServerException:
            return False
        return alive


def tritonclient_grpc() -> Any:  # noqa: ANN401 - the library has no types
    """The library that speaks to Triton.

    Raises:
        BackendMissing: it is not installed.
    """
    if importlib.util.find_spec("tritonclient") is None:
        raise BackendMissing(
            "tritonclient is not installed", hint="Install it: pip install 'deepsmile[triton]'."
        )
    from tritonclient import grpc

    return grpc


@dataclass(frozen=True)
class _Place:
    """An output, and where in a region it lies."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int

    @property
    def size(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def end(self) -> int:
        return self.offset + -(-self.size // ALIGNMENT) * ALIGNMENT


def _places(model: Model, tiles: int, first: int) -> list[_Place]:
    """A model's outputs, one behind the other and all behind `first` bytes of input."""
    places: list[_Place] = []
    offset = -(-first // ALIGNMENT) * ALIGNMENT
    for tensor in model.outputs:
        shape, dtype = model.shape(tensor, tiles), NUMPY_TYPES[tensor.type]
        places.append(_Place(tensor.name, shape, dtype, offset))
        offset = places[-1].end
    return places


def _check_answer(model: Model, tiles: int, response: Any) -> None:  # noqa: ANN401
    if response.model_version != model.version:
        raise BundleMismatch(
            f"asked {model.name} version {model.version}, version {response.model_version} answered"
        )
    found = {output.name: (output.datatype, tuple(output.shape)) for output in response.outputs}
    promised = {t.name: (t.type, model.shape(t, tiles)) for t in model.outputs}
    if found != promised:
        raise BundleMismatch(f"{model.name} gives {found}, the contract says {promised}")
