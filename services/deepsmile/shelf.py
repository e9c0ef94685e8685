"""Shelf: the bundles of a model repository, each verified once and again when its file changes."""

from pathlib import Path
from threading import Lock

from deepsmile.bundle import SUFFIX, Bundle, bundle_names, load_bundle, load_superseded
from deepsmile.errors import BundleError

Mark = tuple[int, int, int]


class Shelf:
    """Verified bundles by name; safe to share between threads."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._bundles: dict[str, tuple[Mark, Bundle]] = {}
        self._superseded: dict[str, Bundle] = {}
        self._lock = Lock()

    def names(self) -> list[str]:
        """What there is, sorted."""
        return bundle_names(self._repository)

    def get(self, name: str) -> Bundle:
        """A bundle whose every byte was checked since its file last changed.

        Raises:
            BundleUnknown, BundleCorrupt.
        """
        with self._lock:
            mark = self._mark(name)
            if name not in self._bundles or self._bundles[name][0] != mark:
                self._bundles[name] = (mark, load_bundle(self._repository, name))
            return self._bundles[name][1]

    def find(self, name: str, digest: str) -> Bundle:
        """The bundle of that name and digest, also when it was superseded meanwhile.

        Whatever has become of its successor: a superseded bundle stands by itself.

        Raises:
            BundleMismatch: it is gone.
            BundleUnknown, BundleCorrupt.
        """
        complaint: BundleError | None = None
        try:
            current = self.get(name)
            if current.digest == digest:
                return current
        except BundleError as error:
            complaint = error
        try:
            return self._former(name, digest)
        except BundleError as error:
            raise complaint or error from None

    def _former(self, name: str, digest: str) -> Bundle:
        with self._lock:
            if digest not in self._superseded:
                self._superseded[digest] = load_superseded(self._repository, name, digest)
            return self._superseded[digest]

    def _mark(self, name: str) -> Mark:
        try:
            found = (self._repository / f"{name}{SUFFIX}").stat()
        except (OSError, ValueError):  # gone, or no name for a file: loading says so
            return (0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_size)
