"""Wire: what crosses HTTP, in the words that the API, its client and the store share."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from deepsmile.contract import Contract
from deepsmile.errors import DeepSmileError, error_from_code
from deepsmile.report import Report

PROBLEM_TYPE = "urn:deepsmile:error:"
MAX_WAIT_S = 60
"""Longest `Prefer: wait` that is honoured."""

Mpp = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Microns per pixel of level 0; the bundle's contract narrows it further."""


class JobState(StrEnum):
    """Where a job is; the last four are ends."""

    ACCEPTED = "accepted"
    FETCHING = "fetching"
    QC = "qc"
    TILING = "tiling"
    ENCODING = "encoding"
    AGGREGATING = "aggregating"
    STORING = "storing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"


RUNNING = (
    JobState.FETCHING,
    JobState.QC,
    JobState.TILING,
    JobState.ENCODING,
    JobState.AGGREGATING,
    JobState.STORING,
)
"""A worker has it, under a lease."""
ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED, JobState.REJECTED)
ANSWERED = (JobState.COMPLETED, JobState.REJECTED)
"""There is a report: a score, or the reason why there is none."""


class Wire(BaseModel):
    """A message; a client ignores what a newer service adds."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Options(BaseModel):
    """How to score, whichever way the slide comes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    bundle: str | None = None
    """Name of a bundle; without it the service's default."""
    mpp: Mpp | None = None
    """Microns per pixel of level 0, overriding the file's."""
    fresh: bool = False
    """Compute again even if these bytes have an answer already."""


class PathRequest(Options):
    """A slide that the service can reach itself."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    """Absolute path of a slide under one of the service's allowed roots."""


class Fault(Wire):
    """Why a job has no score."""

    code: str
    detail: str
    hint: str
    retryable: bool

    @classmethod
    def of(cls, error: DeepSmileError) -> "Fault":
        """The fault that an error amounts to."""
        return cls(code=error.code, detail=error.detail, hint=error.hint, retryable=error.retryable)

    def error(self) -> DeepSmileError:
        """The error that this was."""
        return error_from_code(self.code, self.detail, self.hint)


class Progress(Wire):
    """Of the stage at hand, in tiles; total 0: not known."""

    done: int
    total: int


class SlideRef(Wire):
    """The slide of a job; never a name, which may be a patient's."""

    source: str
    """ "upload" or "path"."""
    sha256: str | None
    """Null until a slide named by its path was read."""
    bytes: int | None
    mpp: float | None
    """As requested."""


class BundleRef(Wire):
    """Which model."""

    name: str
    digest: str


class Links(Wire):
    """Where to go from here."""

    self: str
    result: str
    events: str


class Job(Wire):
    """A slide to score, and how far it is."""

    id: str
    state: JobState
    progress: Progress
    slide: SlideRef
    bundle: BundleRef
    attempt: int
    """How many workers took it up; more than one when a worker was lost."""
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: Fault | None
    """Why it failed, was rejected or was canceled; while it waits for inference, why that is."""
    links: Links
    result: Report | None = None
    """Only where it was asked for."""

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


class JobPage(Wire):
    """Jobs, newest first."""

    jobs: tuple[Job, ...]
    next: str | None
    """Cursor of the next page; null on the last."""


class JobEvent(Wire):
    """A change of a job."""

    state: JobState
    progress: Progress
    at: datetime
    error: Fault | None = None


class BundleSummary(Wire):
    """A model that can be asked for."""

    name: str
    version: str
    digest: str
    notice: str
    """Said beside every score."""
    heads: tuple[str, ...]
    default: bool


class BundleList(Wire):
    bundles: tuple[BundleSummary, ...]


class BundleDetail(BundleSummary):
    """A model, its rules and its card."""

    contract: Contract
    card: str
    """Markdown."""


class Problem(Wire):
    """RFC 9457 problem document."""

    type: str
    """ "urn:deepsmile:error:" and the code."""
    title: str
    status: int
    detail: str
    code: str
    """Stable; what programs go by."""
    hint: str
    """What to do next."""
    retryable: bool
    """Whether the same request may succeed later."""
    instance: str
    """Path of the request."""


class Alive(Wire):
    """A sign of life."""

    status: str
    version: str
    max_upload_bytes: int | None = None
    """Larger bodies are refused."""


class Part(Wire):
    """How one part of the service does."""

    ok: bool
    detail: str


class Readiness(Wire):
    """Whether jobs are accepted: "ready", "degraded" (accepted but not started) or "down"."""

    status: str
    parts: dict[str, Part]
