"""Settings: where and how it runs. Built once at the edge, passed as an argument.

Nothing here can change a score; what can is in the contract. Every field is read from the
environment as DEEPSMILE_<NAME>, e.g. DEEPSMILE_DATA_DIR=/srv/deepsmile.
"""

import json
from math import inf
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deepsmile.addresses import check_broker, check_database, check_triton
from deepsmile.backends.onnx import available_cores
from deepsmile.bundle import bundle_names
from deepsmile.digest import digest_of
from deepsmile.errors import RequestInvalid
from deepsmile.reading import Reader, ReaderLimits
from deepsmile.triton.connection import Endpoint, Transport

GIB = 1 << 30
MAX_SOCKET_PATH = 100
"""Unix sockets have names of at most 107 bytes."""
LOCAL_BATCH, TRITON_BATCH = 4, 16
FEWEST_IN_FLIGHT = 8
"""While the server computes one batch it must have the next."""
LONGEST_S = 1e9
"""Some thirty years; clocks of threads and sockets end not long after."""

UNASKED = "default_factory_not_called"
"""What pydantic says of a default that depends on values which were told already."""
CHECKS = {
    "database_url": check_database,
    "broker_url": check_broker,
    "triton_url": check_triton,
}

Seconds = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]
Pause = Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=0, lt=1 << 63)]
Count = Annotated[int, Field(ge=0, le=1024)]


def shipped_repository() -> Path:
    """The model repository that came with the code: in the wheel, or in the checkout."""
    here = Path(__file__).parent
    packaged = here / "model_repository"
    return packaged if packaged.is_dir() else here.parents[1] / "model_repository"


def _only_bundle(known: dict[str, Any]) -> str:
    """What is meant where there is no choice; a repository of several has to be asked for one."""
    names = bundle_names(known["model_repository"])
    return names[0] if len(names) == 1 else "demo"


class Settings(BaseSettings):
    """All settings; the defaults run everything on one machine under one folder."""

    model_config = SettingsConfigDict(
        env_prefix="DEEPSMILE_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    data_dir: Path = Path("deepsmile-data")
    """Database, uploads, embedded broker, temporary files."""
    database_url: str = ""
    """SQLAlchemy URL; empty: SQLite in the data directory."""
    broker_url: str = ""
    """URL of a Redis or Valkey (`redis`, `rediss` or `redis+socket`); empty: the embedded server's
    socket in the data directory."""
    model_repository: Path = Field(default_factory=shipped_repository)
    """Bundles and models, laid out as Triton wants; by default the one that came with the code."""
    default_bundle: str = Field(default_factory=_only_bundle)
    """Used when a request names none; unset, the repository's only bundle, else `demo`."""
    allowed_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders from which a request may name a slide by path."""

    host: str = "127.0.0.1"
    """Address that the API listens on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Its port."""
    max_upload_bytes: Bytes = 32 * GIB
    """Larger bodies are refused."""
    disk_reserve_bytes: Bytes = 1 * GIB
    """An upload, or a zip to unpack, that would leave less free space than this is refused."""
    keep_uploads_s: Pause = 24 * 3600.0
    """Uploaded slides are deleted this long after their last job ended."""

    keep_features_bytes: Bytes = 8 * GIB
    """Features of slides are kept up to this size, the longest unused going first, so that another
    head on a known slide reads no pixel; 0: none are kept."""

    encoder_threads: Count = 0
    """Callers of the encoder, one thread each; 0: as many as there are cores."""
    encoder_batch: Count = 0
    """Tiles per call; 0: 4 for models in the worker, since small batches stay in a CPU's caches,
    and 16 for a Triton server, which cuts them itself."""
    triton_url: str = ""
    """host:port of the gRPC service of a Triton server; empty: models run in the worker."""
    triton_transport: Transport = "auto"
    """How tensors travel: `shm` (shared memory, on one machine), `grpc`, or `auto`: shared memory
    where it works."""
    triton_in_flight: Count = 0
    """Requests that a worker keeps in flight; 0: as many as it has cores, and at least eight."""
    triton_timeout_s: Seconds = 30.0
    """Longest wait for one answer, doubled for a late server; a request may be sent again."""
    triton_patience_s: Pause = 60.0
    """How long a request is sent again before its job waits for another attempt."""
    inference_wait_s: Pause = 24 * 3600.0
    """Longest wait of a job for a Triton server, from its first attempt that got no answer; then it
    fails."""
    triton_server: str = ""
    """For `up --triton`: a `tritonserver`, or the folder that nvidia-pytriton was installed to;
    empty: one on PATH, else the one that `make triton` installs."""
    reader_memory_bytes: Bytes = 4 * GIB
    """Address space of a reader process."""
    reader_cpu_s: Annotated[int, Field(ge=1, le=int(LONGEST_S))] = 3600
    """Its CPU time for one slide."""
    reader_timeout_s: Seconds = 120.0
    """Longest silence of a reader process."""

    lease_s: Seconds = 30.0
    """A job whose worker is silent this long is given to another."""
    heartbeat_s: Seconds = 10.0
    """How often a worker says that it lives."""
    sweep_s: Seconds = 5.0
    """How often API and workers look for jobs that wait unheard, and for lost workers."""
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 3
    """Times a job may lose its worker before it is abandoned."""
    retry_pause_s: Pause = 10.0
    """Before another attempt after an error that may pass, and longer after each; a job that lost
    a worker goes on at once, and only then with pauses."""
    drain_s: Pause = 600.0
    """How long a stop waits for the job at hand."""
    job_limit_s: Seconds = 4 * 3600.0
    """A worker's process that is at one job this long is killed, which costs an attempt."""
    upload_idle_s: Seconds = 60.0
    """Longest silence within an upload."""

    @model_validator(mode="wrap")
    @classmethod
    def _told(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401
        """Raises RequestInvalid, which names what is wrong."""
        try:
            return handler(given)
        except ValidationError as error:
            raise RequestInvalid(
                "; ".join(_complaint(one) for one in error.errors() if one["type"] != UNASKED),
                hint="Correct the environment variable; docs/operations.md has every setting.",
            ) from error

    @field_validator("allowed_roots", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given)
        except json.JSONDecodeError as error:
            raise ValueError('should be a JSON list, such as ["/slides"]') from error

    @field_validator("database_url", "broker_url", "triton_url")
    @classmethod
    def _reachable(cls, given: str, field: ValidationInfo) -> str:
        if given:
            CHECKS[str(field.field_name)](given)
        return given

    @field_validator("heartbeat_s")
    @classmethod
    def _within_lease(cls, given: float, others: ValidationInfo) -> float:
        if given >= others.data.get("lease_s", inf):
            raise ValueError("should be less than DEEPSMILE_LEASE_S")
        return given

    @property
    def database(self) -> str:
        """SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'deepsmile.sqlite').absolute()}"

    @property
    def broker(self) -> str:
        """Celery broker URL."""
        return self.broker_url or f"redis+socket://{self.valkey_socket}"

    @property
    def valkey_socket(self) -> Path:
        """Unix socket of the embedded broker; in the temporary folder if its path is too long."""
        socket = (self.data_dir / "valkey" / "valkey.sock").absolute()
        if len(str(socket)) <= MAX_SOCKET_PATH:
            return socket
        short = digest_of(str(socket))[:16]
        return Path(gettempdir()) / f"deepsmile-{short}" / "valkey.sock"

    @property
    def uploads(self) -> Path:
        return self.data_dir / "uploads"

    @property
    def features(self) -> Path:
        return self.data_dir / "features"

    @property
    def scratch(self) -> Path:
        return self.data_dir / "scratch"

    @property
    def threads(self) -> int:
        """Callers of the encoder."""
        return self.encoder_threads or available_cores()

    @property
    def triton(self) -> Endpoint | None:
        """The Triton server to ask; None: models run in the worker."""
        if not self.triton_url:
            return None
        return Endpoint(
            url=self.triton_url,
            transport=self.triton_transport,
            in_flight=self.triton_in_flight or max(available_cores(), FEWEST_IN_FLIGHT),
            timeout_s=self.triton_timeout_s,
            patience_s=self.triton_patience_s,
        )

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for a process of ours."""
        fields = self.model_dump(mode="json")
        texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in fields.items()}
        return {f"DEEPSMILE_{name.upper()}": text for name, text in texts.items()}

    @property
    def batch(self) -> int:
        """Tiles per call of the encoder."""
        return self.encoder_batch or (TRITON_BATCH if self.triton_url else LOCAL_BATCH)

    @property
    def reader(self) -> Reader:
        """A new reader of slides; keep it, its process stays warm."""
        limits = ReaderLimits(
            scratch=self.scratch,
            memory_bytes=self.reader_memory_bytes,
            cpu_s=self.reader_cpu_s,
            stall_s=self.reader_timeout_s,
            reserve_bytes=self.disk_reserve_bytes,
        )
        return Reader(limits, self.batch)


def settings_or_exit() -> Settings:
    """The settings of a program that starts now; it ends with a line that says what is wrong."""
    try:
        return Settings()
    except RequestInvalid as error:
        raise SystemExit(f"{error.code}: {error.detail}\n{error.hint}") from error


def _complaint(error: ErrorDetails) -> str:
    """What was given and what is allowed; URLs stay untold, since they may hold a password."""
    name = str(error["loc"][0])
    given = "" if name.endswith("_url") else f"={error['input']}"
    return f"DEEPSMILE_{name.upper()}{given}: {error['msg'].removeprefix('Value error, ')}"
