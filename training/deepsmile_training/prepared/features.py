"""Features: a cohort's slides through serving's own pipeline, or a store's tiles, by one encoder.

PREPARED/features/NAME/ gets one bag per slide and `features.json`, which says by which contract,
with the digest of each bag, and which slides have none and why. A bag that is there already is
not made again, unless the slide is another one.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue

from deepsmile.backends import TileEncoder
from deepsmile.contract import FeatureContract
from deepsmile.digest import digest_of_file
from deepsmile.errors import Abstention, RequestInvalid, SlideError
from deepsmile.reading import Reader
from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid, some
from deepsmile_training.cohorts.sealed import Sealed, read_sealed
from deepsmile_training.extraction import kept_bag
from deepsmile_training.prepared.stored import BagContract, contract_for, stored_bag
from deepsmile_training.tilesets.store import TileStore

FILE = "features.json"
AGAIN = (
    "Run `deepsmile-train features` again: it makes the bags that are not there. Delete those that"
    " were changed by hand first."
)


class FeatureSet(Sealed):
    """What lies beside the bags of one extractor."""

    folder: str
    """Its name, and the extractor's."""
    features: BagContract
    slides: dict[str, str]
    """That have a bag, sorted, to the SHA-256 of its file."""
    dropped: dict[str, str]
    """Slide -> why it has none: not found, abstained, or damaged."""


@dataclass(frozen=True)
class Extractor:
    """An encoder that may run, and the rules by which its tiles are cut."""

    name: str
    contract: FeatureContract
    encoder: TileEncoder
    make_reader: Callable[[], Reader]
    workers: int = 1
    """Slides that are read at once."""


def extract_features(
    slides: Mapping[str, Path],
    missing: tuple[str, ...],
    extractor: Extractor,
    root: Path,
    advance: Callable[[], None],
) -> FeatureSet:
    """Make the bags of all slides; those that cannot be scored are listed, and stop nothing.

    Raises:
        RequestInvalid: no slide could be used.
    """
    folder = root / "features" / extractor.name
    folder.mkdir(parents=True, exist_ok=True)

    readers: SimpleQueue[Reader] = SimpleQueue()

    def make(name: str) -> str:
        reader = readers.get()
        try:
            return _make_bag(slides[name], folder / f"{name}.npz", extractor, reader)
        finally:
            readers.put(reader)
            advance()

    names = sorted(slides)
    with ExitStack() as stack, ThreadPoolExecutor(extractor.workers) as pool:
        for _ in range(extractor.workers):
            readers.put(stack.enter_context(closing(extractor.make_reader())))
        complaints = dict(zip(names, pool.map(make, names), strict=True))
    dropped = {name: why for name, why in complaints.items() if why}
    dropped |= dict.fromkeys(missing, "slide_missing: not in the folder")
    made = [name for name in names if name not in dropped]
    if not made:
        raise RequestInvalid(f"no slide gave features: {next(iter(dropped.values()), 'none')}")
    return list_bags(folder, extractor.contract, made, dropped)


def stored_slides(cohort: Cohort, store: TileStore) -> dict[str, int]:
    """Which slides of a cohort a store has, and where. Raises CohortInvalid if it has none."""
    wanted = cohort.patient_of_slide
    found = {slide.name: at for at, slide in enumerate(store.slides) if slide.name in wanted}
    if not found:
        raise CohortInvalid(
            f"{store.folder} has tiles of none of the {len(wanted)} slides of {cohort.name}:"
            f" {some(sorted(wanted))}"
        )
    return found


def encode_store(
    cohort: Cohort, store: TileStore, extractor: Extractor, root: Path, advance: Callable[[], None]
) -> FeatureSet:
    """Make the bags of a cohort's slides of a store; slides that it has no tiles of are listed.

    Raises:
        RequestInvalid: the store has no slide of the cohort, or tiles of another size.
        TilesCorrupt: it is damaged.
    """
    contract = contract_for(store, extractor.contract)
    folder = root / "features" / extractor.name
    folder.mkdir(parents=True, exist_ok=True)
    found = stored_slides(cohort, store)
    with closing(extractor.make_reader()) as reader:
        batch = reader.batch  # of which the store's tiles come as a slide's would
    for name, index in found.items():
        stored_bag(
            store,
            index,
            saved=folder / f"{name}.npz",
            contract=contract,
            encoder=extractor.encoder,
            batch=batch,
        )
        advance()
    why = {one.slide: f"{one.code}: {one.detail}" for one in store.file.dropped if not one.tile}
    missing = sorted(cohort.patient_of_slide.keys() - found.keys())
    dropped = {name: why.get(name, "slide_missing: not in the tile store") for name in missing}
    return list_bags(folder, contract, found, dropped)


def list_bags(
    folder: Path, contract: BagContract, slides: Iterable[str], dropped: Mapping[str, str]
) -> FeatureSet:
    """Write which bags there are, as they are now."""
    digests = {name: digest_of_file(folder / f"{name}.npz") for name in sorted(slides)}
    found = FeatureSet(folder=folder.name, features=contract, slides=digests, dropped=dict(dropped))
    found.write(folder / FILE)
    return found


def load_feature_set(folder: Path) -> FeatureSet:
    """What an extractor made, its bags as they were.

    Raises:
        CohortInvalid: nothing, or its list or a bag was changed, removed or renamed by hand.
    """
    try:
        known = read_sealed(folder / FILE, FeatureSet)
    except CohortInvalid as error:
        raise CohortInvalid(f"features/{folder.name}: {error.detail}", hint=AGAIN) from error
    if known.folder != folder.name:
        raise CohortInvalid(f"features/{folder.name} are those of {known.folder}")
    _check_bags(folder, known)
    return known


def _check_bags(folder: Path, known: FeatureSet) -> None:
    """Bags are hashed once in a process, and again when they were touched."""
    changed = [
        name
        for name, sha256 in known.slides.items()
        if _digest_of(folder / f"{name}.npz") != sha256
    ]
    if changed:
        raise CohortInvalid(
            f"features/{folder.name}: bags are gone or changed: {some(changed)}", hint=AGAIN
        )


def _digest_of(path: Path) -> str | None:
    return _hashed(path, path.stat().st_ctime_ns) if path.exists() else None


@cache
def _hashed(path: Path, _touched: int) -> str:
    return digest_of_file(path)


def _make_bag(slide: Path, saved: Path, extractor: Extractor, reader: Reader) -> str:
    """Why there is none; empty when there is one."""
    try:
        bag = kept_bag(slide, saved, extractor.contract, extractor.encoder, reader)
    except (SlideError, Abstention) as error:
        return f"{error.code}: {error.detail}"
    return "" if len(bag.features) else "too_little_tissue: no tile of tissue"
