"""Addresses: URLs of other services, and what is told of those that we cannot use.

No message repeats an address: it may hold a password.
"""

import re
from urllib.parse import urlsplit

DATABASES = ("sqlite", "postgresql")
EXAMPLE_DATABASE = "postgresql+psycopg://USER:PASSWORD@HOST/NAME"
EXAMPLE_BROKER = "redis://:PASSWORD@HOST:6379/0"
HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):([0-9]{1,5})")


def check_broker(url: str) -> None:
    """Raises ValueError: neither a host, with a numbered database or none, nor a Unix socket."""
    if not _is_broker(url):
        raise ValueError(f"should be a URL of Redis or Valkey, such as {EXAMPLE_BROKER}")


def _is_broker(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port beyond 65535, or none at all
        return False
    if parts.scheme == "redis+socket":
        return not parts.netloc and len(parts.path) > 1
    number = parts.path.removeprefix("/").removeprefix("/")  # Celery's examples end in //
    whole = bool(parts.hostname) and port != 0 and (not number or number.isdecimal())
    return parts.scheme in ("redis", "rediss") and whole


def check_triton(address: str) -> None:
    """Raises ValueError: not host:port."""
    found = HOST_PORT.fullmatch(address)
    if not (found and 0 < int(found[2]) < 1 << 16):
        raise ValueError("should be HOST:PORT of a gRPC service, such as 127.0.0.1:8001")


def check_database(url: str) -> None:
    """Raises ValueError: no database of ours, or none that this installation can talk to."""
    from sqlalchemy.engine import make_url  # most commands need no database, and it takes 0.2 s
    from sqlalchemy.exc import ArgumentError

    try:
        found = make_url(url)
        dialect = found.get_dialect()
    except (ArgumentError, ValueError):
        dialect = None
    if dialect is None or dialect.is_async or found.get_backend_name() not in DATABASES:
        raise ValueError(f"should be a URL of SQLite or PostgreSQL, such as {EXAMPLE_DATABASE}")
    try:
        dialect.import_dbapi()
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'deepsmile[postgres]'") from error
