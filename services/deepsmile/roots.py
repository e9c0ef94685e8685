"""Roots: the folders from which a request may name a slide by its path."""

from collections.abc import Sequence
from pathlib import Path

from deepsmile.digest import digest_of
from deepsmile.errors import PathNotAllowed, RequestInvalid, SlideNotFound


def resolve_path(path: str, roots: Sequence[Path]) -> Path:
    """The real path of a slide, with every `..` and link followed, under a real root.

    What lies elsewhere is refused the same whether it exists or not. No message names a path:
    it may name a patient.

    Raises:
        RequestInvalid: no absolute path.
        PathNotAllowed: outside the roots.
        SlideNotFound: inside, but not there.
    """
    if "\0" in path or not Path(path).is_absolute():
        raise RequestInvalid("path: give an absolute path")
    real = _real(Path(path))
    if real is None or not any(real.is_relative_to(root) for root in map(_real, roots) if root):
        raise PathNotAllowed("the path lies outside the allowed roots")
    if not _exists(real):
        raise SlideNotFound("there is no such file under the allowed roots")
    return real


def identity_of(path: Path) -> str:
    """Marks of a file that change when it does, so that its bytes need not be read to compare.

    Good for as long as a job runs; lasting answers go by the digest of the bytes.
    """
    found = path.stat()
    marks = [str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]
    return digest_of(marks)


def _real(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle, names too long
        return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder that we may not enter
        return False
