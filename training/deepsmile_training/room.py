"""Room: a full disk is called one, with what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

from deepsmile.disk import NO_ROOM
from deepsmile.errors import StorageFull


@contextmanager
def saying_full(detail: str, hint: str) -> Iterator[None]:
    """Raises StorageFull where a write of the block, or of the function, finds no room."""
    try:
        yield
    except StorageFull as error:
        raise StorageFull(error.detail, hint=hint) from error
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StorageFull(detail, hint=hint) from error
