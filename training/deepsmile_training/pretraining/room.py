"""Room: a full disk is called one, with what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

from deepsmile.disk import NO_ROOM
from deepsmile.errors import StorageFull

AGAIN = "Free space, then give the same command: it goes on from the last checkpoint."


@contextmanager
def needing_room(what: str) -> Iterator[None]:
    """Raises StorageFull where a write of the block, or of the function, finds no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StorageFull(f"no room for {what}", hint=AGAIN) from error
