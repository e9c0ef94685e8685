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
from deepsmile_training.cohorts.slides import match_names, twins
from deepsmile_training.extraction import kept_bag
from deepsmile_training.prepared.stored import BagContract, contract_for, stored_bag
from deepsmile_training.tilesets.store import SAME, TWICE, TileStore

FILE = "features.json"
NO_TISSUE = "too_little_tissue: no tile of tissue"
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
    """Slide -> why it has none: not found, abstained, damaged, or another one over again."""


@dataclass(frozen=True)
class Extractor:
    """An encoder that may run, and the rules by which its tiles are cut."""

    name: str
    contract: FeatureContract
    encoder: TileEncoder
    make_reader: Callable[[], Reader]
    workers: int = 1
    """Slides that are read at once."""


@dataclass(frozen=True)
class _Made:
    """What came of a slide."""

    sha256: str
    why: str
    """It has no bag; empty when it has one."""


def extract_features(
    cohort: Cohort,
    slides: Mapping[str, Path],
    extractor: Extractor,
    root: Path,
    advance: Callable[[], None],
) -> FeatureSet:
    """Make the bags of a cohort's slides; those that cannot be scored are listed, and stop nothing.

    Raises:
        CohortInvalid: two patients share a slide.
        RequestInvalid: no slide could be used; or there are bags by another encoder.
    """
    folder = root / "features" / extractor.name
    folder.mkdir(parents=True, exist_ok=True)

    readers: SimpleQueue[Reader] = SimpleQueue()

    def make(name: str) -> _Made:
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
        outcomes = dict(zip(names, pool.map(make, names), strict=True))
    dropped = {name: one.why for name, one in outcomes.items() if one.why}
    contents = {name: one.sha256 for name, one in outcomes.items() if not one.why}
    dropped |= {name: f"{TWICE}: {SAME}{twin}" for name, twin in twins(cohort, contents).items()}
    missing = sorted(cohort.patient_of_slide.keys() - slides.keys())
    dropped |= dict.fromkeys(missing, "slide_missing: not in the folder")
    made = [name for name in names if name not in dropped]
    if not made:
        raise RequestInvalid(f"no slide gave features: {next(iter(dropped.values()), 'none')}")
    return list_bags(folder, extractor.contract, made, dropped)


def stored_slides(cohort: Cohort, store: TileStore) -> dict[str, int]:
    """Which slides of a cohort a store has, and where; of several with the same bytes the first.

    Raises:
        CohortInvalid: it has none, or two for one; or two patients share a slide.
    """
    places = {slide.name: at for at, slide in enumerate(store.slides)}
    repeated = {name: places[twin] for name, twin in store.twins.items() if twin in places}
    places = repeated | places
    matched = match_names(cohort, places)
    if not matched:
        wanted = sorted(cohort.patient_of_slide)
        raise CohortInvalid(
            f"{store.folder} has tiles of none of the {len(wanted)} slides of {cohort.name}:"
            f" {some(wanted)}"
        )
    for slide, names in matched.items():
        if len({places[name] for name in names}) > 1:
            raise CohortInvalid(f"slide {slide} is in {store.folder} as {some(sorted(names))}")
    found = {slide: places[names[0]] for slide, names in matched.items()}
    again = twins(cohort, found)
    return {slide: at for slide, at in found.items() if slide not in again}


def encode_store(
    cohort: Cohort, store: TileStore, extractor: Extractor, root: Path, advance: Callable[[], None]
) -> FeatureSet:
    """Make the bags of a cohort's slides of a store; slides that it has no tiles of are listed.

    Raises:
        CohortInvalid: the store has no slide of the cohort, or two patients share one.
        RequestInvalid: its tiles are of another size; or there are bags by another encoder.
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
    said = {one.slide: f"{one.code}: {one.detail}" for one in store.file.dropped if not one.tile}
    why = {slide: said[names[0]] for slide, names in match_names(cohort, said).items()}
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


def _make_bag(slide: Path, saved: Path, extractor: Extractor, reader: Reader) -> _Made:
    try:
        bag = kept_bag(slide, saved, extractor.contract, extractor.encoder, reader)
    except (SlideError, Abstention) as error:
        return _Made("", f"{error.code}: {error.detail}")
    return _Made(bag.slide_sha256, "" if len(bag.features) else NO_TISSUE)
