"""Calls: what the two clients share: requests, bodies, answers, and the thread of a job's events.

Nothing here talks to the network; `deepsmile.client` does, once with `await` and once without.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel, ValidationError

from deepsmile.errors import (
    BodyTooLarge,
    DeepSmileError,
    JobNotFinished,
    RequestInvalid,
    ServiceUnreachable,
    SlideNotFound,
    error_from_code,
)
from deepsmile.parts import check_kind
from deepsmile.wire import Alive, Job, JobEvent, JobState, Options, PathRequest, Problem

Model = TypeVar("Model", bound=BaseModel)
OnUpload = Callable[[int, int], None]
"""Told (bytes sent, bytes in all)."""
OnEvent = Callable[[JobEvent], None]

PAUSES_S = (0.2, 1.0, None)
"""After a request that got no answer, before it is sent again; all of ours may be sent twice."""
PATIENCE_S = 60.0
"""How long a service may be away while we wait for a job."""
POLL_S = 1.0
SILENCE_S = 20.0
"""The service sends a sign of life every 15 s: a stream this silent is dead."""
SHORTEST_S = 0.1
"""Of all waits, however late it is."""
BLOCK_BYTES = 1 << 20
ASK_BYTES = 16 << 20
"""A body of that size is sent only after the service was asked how much it takes."""
AS_A_ZIP = "Send it as a zip; or name its path, if the service can reach it (`predict_path`)."


@dataclass(frozen=True)
class Call:
    """A request."""

    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    wait_s: int = 0
    """How long the service may take on purpose."""

    def build(self, http: httpx.Client | httpx.AsyncClient, content: Any = None) -> httpx.Request:  # noqa: ANN401
        """The request for httpx."""
        return http.build_request(
            self.method,
            self.path,
            params=dict(self.params),
            headers=dict(self.headers),
            json=self.json,
            content=content,
            timeout=httpx.Timeout(30.0, read=30.0 + self.wait_s),
        )


HEALTH = Call("GET", "/healthz")


def upload_call(options: Options, size: int | None, key: str | None, wait_s: int) -> Call:
    """Send a slide as the body."""
    headers = {"Content-Type": "application/octet-stream", **_headers(key, wait_s)}
    if size is not None:
        headers["Content-Length"] = str(size)
    params = options.model_dump(mode="json", exclude_defaults=True)
    return Call("POST", "/v1/jobs", params=params, headers=headers, wait_s=wait_s)


def path_call(request: PathRequest, key: str | None, wait_s: int) -> Call:
    """Name a slide that the service can reach."""
    content = request.model_dump(mode="json", exclude_defaults=True)
    return Call("POST", "/v1/jobs", headers=_headers(key, wait_s), json=content, wait_s=wait_s)


def job_call(job_id: str, result: bool) -> Call:
    """A job, with or without its report."""
    return Call("GET", f"/v1/jobs/{job_id}", params={"result": "true"} if result else {})


def page_call(state: JobState | None, cursor: str) -> Call:
    """A page of jobs; the first has no cursor."""
    wanted = {"limit": 100, "state": state.value if state else None, "cursor": cursor or None}
    return Call("GET", "/v1/jobs", params={k: v for k, v in wanted.items() if v is not None})


def _headers(key: str | None, wait_s: int) -> dict[str, str]:
    headers = {"Idempotency-Key": key or uuid4().hex}
    return {**headers, "Prefer": f"wait={wait_s}"} if wait_s else headers


class SlideBody:
    """A slide's bytes, read as they are sent; may be sent again from the start."""

    def __init__(self, slide: Path | IO[bytes], on_upload: OnUpload | None) -> None:
        self._slide, self._on_upload = slide, on_upload
        if isinstance(slide, Path):
            if slide.is_dir():
                raise RequestInvalid("a folder cannot be sent", hint=AS_A_ZIP)
            check_kind(slide)
            if not slide.is_file():
                raise SlideNotFound(f"no such file: {slide}")
            self._start, self.size = 0, slide.stat().st_size
        else:
            self._start = slide.tell()
            self.size = slide.seek(0, 2) - self._start

    @property
    def is_large(self) -> bool:
        """Whether to ask first."""
        return self.size >= ASK_BYTES

    def check(self, alive: Alive) -> None:
        """Raises BodyTooLarge: the service would say so when it has come."""
        if alive.max_upload_bytes is not None and self.size > alive.max_upload_bytes:
            raise BodyTooLarge(f"the slide is larger than {alive.max_upload_bytes} bytes")

    def blocks(self) -> Iterator[bytes]:
        """From the start; a file that was given open stays open."""
        with self._open() as file:
            file.seek(self._start)
            sent = 0
            while block := file.read(BLOCK_BYTES):
                yield block
                sent += len(block)
                if self._on_upload:
                    self._on_upload(sent, self.size)

    def _open(self) -> AbstractContextManager[IO[bytes]]:
        given = self._slide
        return given.open("rb") if isinstance(given, Path) else nullcontext(given)

    async def blocks_async(self) -> AsyncIterator[bytes]:
        """From the start, read in a thread."""
        blocks = self.blocks()
        while block := await asyncio.to_thread(next, blocks, b""):
            yield block


def read(response: httpx.Response, model: type[Model]) -> Model:
    """What an answer says.

    Raises:
        DeepSmileError: what the service answered, or ServiceUnreachable for an answer that is
            none of its own.
    """
    try:
        if response.is_success:
            return model.model_validate_json(response.content)
        problem = Problem.model_validate_json(response.content)
    except ValidationError as error:
        what = f"{response.request.url} answered {response.status_code}"
        raise ServiceUnreachable(f"{what} with something that is not DeepSMILE's") from error
    raise error_from_code(problem.code, problem.detail, problem.hint)


def unanswered(error: httpx.TransportError) -> ServiceUnreachable:
    """The error for a request that got no answer."""
    return ServiceUnreachable(f"{error.request.url.copy_with(query=None)}: {error!r}")


class Following:
    """A job's events as lines come in, across as many connections as it takes."""

    def __init__(self, job_id: str, on_event: OnEvent | None, timeout_s: float | None) -> None:
        self._on_event = on_event
        self._deadline = time.monotonic() + (inf if timeout_s is None else timeout_s)
        self._last_id, self._data, self._lost_at = "", "", 0.0
        self._silence_s = SILENCE_S
        self.path = f"/v1/jobs/{job_id}/events"

    @property
    def headers(self) -> dict[str, str]:
        """Where to go on."""
        return {"Last-Event-ID": self._last_id} if self._last_id else {}

    @property
    def timeout(self) -> httpx.Timeout:
        """How long a new stream may be silent."""
        self._silence_s = min(max(self._left_s, SHORTEST_S), SILENCE_S)
        return httpx.Timeout(self._silence_s)

    @property
    def pause_s(self) -> float:
        """How long to wait before another stream."""
        return min(max(self._left_s, SHORTEST_S), POLL_S)

    @property
    def _left_s(self) -> float:
        return self._deadline - time.monotonic()

    def take(self, line: str) -> bool:
        """A line of the stream; an empty one ends an event.

        False: leave it, since every line lets it be silent anew, and that may take too long now.
        """
        name, _, value = line.partition(": ")
        if name == "data":
            self._data = value
        elif name == "id":
            self._last_id = value
        elif not line and self._data:
            event, self._data = JobEvent.model_validate(json.loads(self._data)), ""
            if self._on_event:
                self._on_event(event)
        return bool(line) or self._left_s >= self._silence_s

    def check(self, job: Job) -> bool:
        """Whether the job has ended.

        Raises:
            JobNotFinished: it has not, and the time is up.
        """
        self._lost_at = 0.0
        if not job.has_ended and self._left_s <= 0:
            raise JobNotFinished(f"the job is {job.state}")
        return job.has_ended

    def bear(self, error: DeepSmileError) -> None:
        """Take it that the service does not answer, for a while.

        Raises:
            DeepSmileError: the error itself, when it will not pass or has not for too long.
        """
        now = time.monotonic()
        self._lost_at = self._lost_at or now
        if not error.retryable or self._left_s <= 0 or now - self._lost_at > PATIENCE_S:
            raise error
