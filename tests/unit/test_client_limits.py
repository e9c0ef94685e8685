"""The clients keep limits of time and size, on real connections."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, ClassVar

import pytest

from deepsmile.api.examples import EXAMPLES
from deepsmile.calls import ASK_BYTES
from deepsmile.client import AsyncClient, Client
from deepsmile.errors import BodyTooLarge, JobNotFinished

Ask = Callable[..., Any]
JOB_ID = str(EXAMPLES["running"]["id"])
EVENT = {"state": "encoding", "progress": {"done": 1, "total": 9}, "at": "2026-11-22T20:00:00Z"}


class Lively(BaseHTTPRequestHandler):
    """A service whose job never ends, and whose stream of events is never silent for long."""

    every_s = 0.2
    max_upload_bytes: ClassVar[int | None] = None
    over: ClassVar[Event]
    received: ClassVar[list[int]]

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            self._stream()
        elif self.path == "/healthz":
            alive = {"status": "alive", "version": "1", "max_upload_bytes": self.max_upload_bytes}
            self._answer(alive)
        else:
            self._answer(EXAMPLES["running"])

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        self.received.append(left)
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self._answer(EXAMPLES["running"])

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, content: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def _stream(self) -> None:
        self.send_response(200)
        self.end_headers()
        number = 0
        try:
            while not self.over.wait(self.every_s):
                number += 1
                event = f"event: progress\ndata: {json.dumps(EVENT)}\nid: {number}\n\n"
                self.wfile.write(event.encode() if number % 2 else b": ping\n\n")
        except OSError:
            return  # nobody listens any more


def serve(kind: type[Lively]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    kind.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lively() -> type[Lively]:
    """With memories of its own."""
    return type("OneLively", (Lively,), {"over": Event(), "received": []})


@pytest.fixture
def url(lively: type[Lively]) -> Iterator[str]:
    yield from serve(lively)


def ask_sync(url: str, method: str, *arguments: Any, **options: Any) -> Any:
    with Client(url) as client:
        return getattr(client, method)(*arguments, **options)


def ask_async(url: str, method: str, *arguments: Any, **options: Any) -> Any:
    async def go() -> Any:
        async with AsyncClient(url) as client:
            return await getattr(client, method)(*arguments, **options)

    return asyncio.run(go())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    ask: Ask = request.param
    return ask


@pytest.mark.parametrize("every_s", [0.2, 0.9])
def test_waiting_ends_in_time_although_the_stream_is_never_silent(
    ask: Ask, lively: type[Lively], url: str, every_s: float
) -> None:
    """Every line lets a connection be silent anew: after one at 0.9 s it would be until 1.9 s."""
    lively.every_s = every_s
    seen, began = [], time.monotonic()
    guard = Thread(target=lambda: lively.over.wait(8) or lively.over.set())
    guard.start()
    with pytest.raises(JobNotFinished, match="encoding"):
        ask(url, "wait", JOB_ID, on_event=seen.append, timeout_s=1.0)
    assert 1.0 <= time.monotonic() - began < 1.6
    assert seen[0].progress.done == 1
    lively.over.set()
    guard.join()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A slide that is worth a question."""
    path = tmp_path / "slide.svs"
    path.touch()
    os.truncate(path, ASK_BYTES)
    return path


def test_a_slide_over_the_limit_is_refused_before_it_is_sent(
    ask: Ask, lively: type[Lively], url: str, large: Path
) -> None:
    lively.max_upload_bytes = ASK_BYTES - 1
    with pytest.raises(BodyTooLarge, match=str(ASK_BYTES - 1)):
        ask(url, "predict", large)
    assert lively.received == []


@pytest.mark.parametrize("limit", [ASK_BYTES, None])
def test_a_slide_within_the_limit_or_without_one_is_sent(
    ask: Ask, lively: type[Lively], url: str, large: Path, limit: int | None
) -> None:
    lively.max_upload_bytes = limit
    assert ask(url, "predict", large).id == JOB_ID
    assert lively.received == [ASK_BYTES]
