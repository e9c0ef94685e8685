"""Roots: the folders from which a request may name a slide by its path."""

from collections.abc import Sequence
from pathlib import Path

from deepsmile.digest import digest_of
from deepsmile.errors import PathNotAllowed, RequestInvalid, SlideNotFound
from deepsmile.parts import check_kind, parts_of

WHOLE_ROOT = "Name a slide's file or folder below it: every byte of a folder that is named is read."


def resolve_path(path: str, roots: Sequence[Path]) -> Path:
    """The real path of a slide, with every `..` and link followed, under a real root.

    What lies elsewhere is refused the same whether it exists or not. No message names a path:
    it may name a patient.

    Raises:
        RequestInvalid: no absolute path.
        PathNotAllowed: outside the roots, or a whole root.
        SlideNotFound: inside, but not there.
        SlideUnsupported: neither a file nor a folder.
    """
    if "\0" in path or not Path(path).is_absolute():
        raise RequestInvalid("path: give an absolute path")
    real, real_roots = _real(Path(path)), [root for root in map(_real, roots) if root]
    if real is None or not any(real.is_relative_to(root) for root in real_roots):
        raise PathNotAllowed("the path lies outside the allowed roots")
    if real in real_roots:
        raise PathNotAllowed("the path is an allowed root itself", hint=WHOLE_ROOT)
    if not _exists(real):
        raise SlideNotFound("there is no such file under the allowed roots")
    check_kind(real)
    return real


def identity_of(path: Path) -> str:
    """Marks of a slide's files that change when they do, so that no byte need be read to compare.

    Good for as long as a job runs; lasting answers go by the digest of the bytes.
    """
    return digest_of([str(path), [_marks(part) for _, part in sorted(parts_of(path).items())]])


def _marks(part: Path) -> list[int]:
    found = part.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]


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
