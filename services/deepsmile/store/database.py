"""Database: connections to SQLite or PostgreSQL, and transactions that say what went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from deepsmile.errors import StorageFull, StoreUnavailable
from deepsmile.store.schema import METADATA

BUSY_S = 10.0
"""How long a writer waits for another one."""
WRITES = "deepsmile_writes"
DISK_FULL = ("disk is full", "No space left")


class Database:
    """Where the tables are; opens no connection before it is used.

    A process that forks must not hold a SQLite connection when it does: give it `pooled=False`,
    and it opens one for each transaction.
    """

    def __init__(self, url: str, *, pooled: bool = True) -> None:
        self._is_sqlite = make_url(url).get_backend_name() == "sqlite"
        options: dict[str, Any] = {} if pooled else {"poolclass": NullPool}
        if self._is_sqlite:
            options["connect_args"] = {"timeout": BUSY_S}
        else:
            options["pool_pre_ping"] = True
        # Parameters stay out of messages: a path may name a patient.
        self._reads = create_engine(url, hide_parameters=True, **options)
        self._writes = self._reads.execution_options(**{WRITES: True})
        if self._is_sqlite:
            event.listen(self._reads, "connect", _configure)
            event.listen(self._reads, "begin", _begin)

    def create(self) -> None:
        """Create the tables that are missing; several processes may do so at once."""
        if self._is_sqlite and self._reads.url.database:
            Path(self._reads.url.database).parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.write() as connection:
                METADATA.create_all(connection)
        except ProgrammingError:  # PostgreSQL: another process was faster
            with self.write() as connection:
                METADATA.create_all(connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        with _translated(), self._reads.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction, committed and on the disk when this returns.

        Raises:
            StoreUnavailable: the database cannot be reached, or stayed locked.
            StorageFull: no room for it.
        """
        with _translated(), self._writes.begin() as connection:
            yield connection

    def ping(self) -> None:
        """Raises StoreUnavailable unless the jobs can be read."""
        with self.read() as connection:
            connection.execute(text("SELECT count(*) FROM jobs WHERE seq = 0"))

    def close(self) -> None:
        """Close every connection."""
        self._reads.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        said = str(error.orig)
        if any(words in said for words in DISK_FULL):
            raise StorageFull("the database has no room left") from error
        raise StoreUnavailable(f"the database does not answer: {said}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable("the database closed the connection") from error
        raise


def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3's own type
    """Durable and shared: write-ahead log, every commit on the disk, waiting for other writers."""
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Writers take the lock at once: one that first reads could not wait for it later."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
