"""Kept: what reading and encoding slides gave, kept on disk so that a new head reads no pixel."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from deepsmile import __version__
from deepsmile.bag import load_bag, save_bag
from deepsmile.contract import FeatureContract
from deepsmile.digest import digest_of
from deepsmile.disk import PARTIAL, check_room, write_file
from deepsmile.errors import BagCorrupt, StorageFull
from deepsmile.frames import PlanFacts, ReadCount, SlideFacts
from deepsmile.pipeline import Extraction, SlideSource

BAG, FACTS = ".npz", ".json"


class Facts(BaseModel):
    """All of an extraction that its report needs, but for the bag."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    slide: SlideFacts
    plan: PlanFacts
    count: ReadCount


@dataclass(frozen=True)
class KeptFeatures:
    """Extractions under `folder`, of `max_bytes` at most; the longest unused go first.

    Several processes may share the folder.
    """

    folder: Path
    max_bytes: int
    reserve_bytes: int
    """Space that must stay free; what does not fit is not kept."""
    version: str = __version__
    """Of the software; what another one kept is not found."""

    def find(
        self, source: SlideSource, contract: FeatureContract, encoder: str
    ) -> Extraction | None:
        """What reading this slide under this contract gave; None: it is not kept, or not hashed.

        `encoder` is the backend's `runtime`, as another may differ in the last bits.
        """
        if source.sha256 is None:
            return None
        path = self._path(source.sha256, source.mpp, contract.digest, encoder)
        try:
            facts = Facts.model_validate_json(path.with_suffix(FACTS).read_bytes())
            bag = load_bag(path, contract.digest)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (BagCorrupt, ValueError):
            _delete(path)
            return None
        return Extraction(
            slide=facts.slide,
            plan=facts.plan,
            count=facts.count,
            bag=bag,
            sha256=bag.slide_sha256,
        )

    def keep(self, source: SlideSource, extraction: Extraction, encoder: str) -> None:
        """Keep an extraction that came to a bag, and let go of the longest unused."""
        bag, plan, count = extraction.bag, extraction.plan, extraction.count
        slide = extraction.slide
        if not self.max_bytes or bag is None or slide is None or plan is None or count is None:
            return
        path = self._path(extraction.sha256, source.mpp, bag.features_digest, encoder)
        facts = Facts(slide=slide, plan=plan, count=count)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_room(self.folder, bag.features.nbytes, self.reserve_bytes)
            write_file(path.with_suffix(FACTS), facts.model_dump_json())
            save_bag(bag, path)
        except (StorageFull, OSError):  # the score does not depend on it
            _delete(path)
        self._shrink()

    def _path(self, sha256: str, mpp: float | None, features_digest: str, encoder: str) -> Path:
        """By all that is known to change a bit of the features or of the facts."""
        marks = [sha256, features_digest, mpp, encoder, self.version]
        return self.folder / f"{digest_of(marks)}{BAG}"

    def _shrink(self) -> None:
        found = []
        for path in self.folder.glob(f"*{BAG}"):
            try:
                stat = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            found.append((stat.st_mtime_ns, stat.st_size, path))
        left = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if left <= self.max_bytes:
                return
            _delete(path)
            left -= size


def left_behind(folder: Path) -> Iterator[Path]:
    """What is under way, or was when its process was killed: half a file, facts without a bag."""
    yield from folder.glob(f"*{PARTIAL}")
    for facts in folder.glob(f"*{FACTS}"):
        if not facts.with_suffix(BAG).exists():
            yield facts


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(FACTS).unlink(missing_ok=True)
