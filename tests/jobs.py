"""Makers of jobs for tests of the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from deepsmile.errors import DeepSmileError
from deepsmile.store.claims import Retries
from deepsmile.store.database import Database
from deepsmile.store.jobs import NewJob, submit
from deepsmile.store.rows import StoredJob

BUNDLE_DIGEST = "b" * 64
RETRIES = Retries(attempts=3, pause_s=10.0)


def new_job(slide: str = "", **changes: Any) -> NewJob:
    """An upload whose bytes have the digest `slide`, by default like no other's."""
    fields: dict[str, Any] = {
        "id": uuid4().hex,
        "source": "upload",
        "path": None,
        "slide_sha256": slide or uuid4().hex * 2,
        "slide_bytes": 5,
        "bundle_name": "tiny",
        "bundle_digest": BUNDLE_DIGEST,
        "mpp": None,
        "fresh": False,
        **changes,
    }
    return NewJob(**{"identity": fields["slide_sha256"], **fields})


class FailingDatabase(Database):
    """One that refuses to write for a while, in the words that it was given."""

    def __init__(self, url: str, error: DeepSmileError) -> None:
        super().__init__(url)
        self._error = error
        self.fails = False

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if self.fails:
            raise self._error
        with super().write() as connection:
            yield connection

    def fail(self, for_s: float) -> None:
        self.fails = True
        Timer(for_s, setattr, (self, "fails", False)).start()


def accept(database: Database, now: float = 0.0, **changes: Any) -> StoredJob:
    """A job that waits."""
    return submit(database, new_job(**changes), now, None).job
