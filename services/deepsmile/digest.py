"""Digests: SHA-256 of files, and of whole objects as canonical JSON."""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any

from deepsmile.parts import parts_of

CHUNK_BYTES = 1 << 20

Between = Callable[[], None]
"""Called between pieces of work; stops it by raising."""


def nothing() -> None:
    """For those who let it run."""


def canonical_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """One spelling per value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """SHA-256 (hex) of a JSON value, whole: no list of keys that could be forgotten."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_file(path: Path, between: Between = nothing) -> str:
    """SHA-256 (hex) of a file's bytes, read in chunks; `between` them it may be stopped."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            between()
            sha.update(chunk)
    return sha.hexdigest()


def digest_of_slide(path: Path, between: Between = nothing) -> str:
    """SHA-256 (hex) of a slide: of its bytes, or of its parts' sorted names and digests."""
    parts = parts_of(path)
    if parts == {path.name: path}:
        return digest_of_file(path, between)
    # Sorted as paths, folder by folder.
    names = sorted(parts, key=PurePosixPath)
    return digest_of([[name, digest_of_file(parts[name], between)] for name in names])


@contextmanager
def digest_beside(path: Path, known: str | None) -> Iterator[Future[str]]:
    """A slide's digest, computed beside the block and given up when that ends before it.

    "" when there is no such slide; whoever reads it says so.
    """
    ended = Event()

    def go_on() -> None:
        if ended.is_set():
            raise CancelledError

    def digest() -> str:
        return known or (digest_of_slide(path, go_on) if path.exists() else "")

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(digest)
        finally:
            ended.set()
