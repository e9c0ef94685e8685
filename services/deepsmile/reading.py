"""Reading: a slide's tiles from a process of its own, whose death is one slide's error."""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, get_ident

import numpy as np
from numpy.typing import NDArray

from deepsmile.contract import FeatureContract
from deepsmile.disk import needing_room
from deepsmile.errors import RequestInvalid, error_from_code
from deepsmile.frames import Frame, PlanFacts, ReadCount, ReadRequest, SlideFacts
from deepsmile.parts import check_kind
from deepsmile.reader_host import ReaderHost
from deepsmile.tiles import TileBatch


@dataclass(frozen=True)
class ReaderLimits:
    """Bounds of one reader process; none of them can change a score."""

    scratch: Path
    """Folder for its temporary files."""
    memory_bytes: int
    cpu_s: int
    stall_s: float
    """Longest wait for the next frame."""
    reserve_bytes: int = 0
    """Space that unpacking a zip must leave free."""


@dataclass(frozen=True)
class Looked:
    """Progress of the overview, in tiles."""

    done: int
    total: int


@dataclass(frozen=True)
class OverviewImage:
    """The overview, when asked for: (rows * t, columns * t, 3)."""

    image: NDArray[np.uint8]


ReadEvent = SlideFacts | Looked | PlanFacts | OverviewImage | TileBatch | ReadCount


class Reader:
    """Reads slides, one at a time, each in a fresh process forked from a host it keeps warm.

    The host starts with `start` or the first slide, and ends with `close` or with the Reader.
    """

    def __init__(self, limits: ReaderLimits, batch: int) -> None:
        self.limits = limits
        self.batch = batch
        """Tiles per batch."""
        self._busy = Lock()
        self._thread: int | None = None
        """The thread that started the reading under way."""
        self._host: ReaderHost | None = None

    def start(self) -> None:
        """Start the host; it imports the readers while the caller does other things."""
        if self._host is None or not self._host.is_alive:
            self._host = ReaderHost()

    @property
    def host_pid(self) -> int | None:
        """Process id of the host while it runs."""
        return self._host.pid if self._host and self._host.is_alive else None

    def close(self) -> None:
        """Stop the host; the next slide would start another."""
        if self._host is not None:
            self._host.stop()
            self._host = None

    def read(
        self,
        path: Path,
        contract: FeatureContract,
        *,
        mpp: float | None = None,
        overview: bool = False,
        tiles: bool = True,
    ) -> Generator[ReadEvent]:
        """Read a slide: facts, plan, tiles in batches, count; without `tiles` the plan only.

        Raises:
            DeepSmileError: what the child raised, or SlideUnreadable, SlideTooLarge, ReaderKilled
                or SlideTimeout for the way it died; SlideUnsupported: neither file nor folder;
                RequestInvalid: the path is not UTF-8; StorageFull: no room for its scratch folder.
            RuntimeError: another reading of this thread is under way.
        """
        check_kind(path)
        with self._turn(), self._scratch() as scratch:
            request = ReadRequest(
                path=_in_utf8(path.absolute()),
                scratch=_in_utf8(Path(scratch)),
                contract=contract,
                mpp=mpp,
                batch=self.batch if tiles else 0,
                overview=overview,
                memory_bytes=self.limits.memory_bytes,
                cpu_s=self.limits.cpu_s,
                reserve_bytes=self.limits.reserve_bytes,
            )
            self.start()
            assert self._host is not None
            with self._host.fork(request) as channel:
                for frame in channel.frames(self.limits.stall_s):
                    yield from _events(frame, contract)

    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        """A new folder for a reader's temporary files."""
        with needing_room():
            self.limits.scratch.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(dir=self.limits.scratch)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until other threads have read their slides; this one would wait for itself."""
        if self._thread == get_ident():
            raise RuntimeError("a reading of this thread is under way: finish it, or close it")
        with self._busy:
            self._thread = get_ident()
            try:
                yield
            finally:
                self._thread = None


def _in_utf8(path: Path) -> str:
    try:
        return str(path).encode().decode()
    except UnicodeEncodeError as error:
        hint = "Rename the file, or link to it, with a name in UTF-8."
        raise RequestInvalid("the path is not UTF-8", hint=hint) from error


def _events(frame: Frame, contract: FeatureContract) -> Iterator[ReadEvent]:
    match frame.kind:
        case "slide":
            yield SlideFacts.model_validate(frame.body)
        case "looked":
            yield Looked(**frame.body)
        case "plan":
            yield PlanFacts.model_validate(frame.body)
        case "overview":
            yield OverviewImage(frame.payload.reshape(frame.body["shape"]))
        case "tiles":
            size = contract.tile.size_px
            cells = np.array(frame.body["cells"], np.int32)  # (B, 2)
            pixels = frame.payload.reshape(-1, size, size, 3)
            yield TileBatch(cells, pixels, frame.body["to_come"])
        case "done":
            yield ReadCount.model_validate(frame.body)
        case _:
            raise error_from_code(frame.body["code"], frame.body["detail"], frame.body["hint"])
