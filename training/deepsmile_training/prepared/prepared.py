"""Prepared: a cohort with its split, and the features of its slides, in one folder.

    PREPARED/cohort.json  split.json
             features/EXTRACTOR/   bags, by `deepsmile-train features`
             tiles/                a tile store, by `deepsmile-train tiles`; features may be of it
             encoders/NAME.pt      encoders that the tile-supervised baseline starts from
             members/              trained members of bundles, by `deepsmile-train bundle`
             tests.seal.json       who has looked at a fixed test set

An extractor that was pre-trained for each fold (RESOLUTIONS row 17) has a folder for each,
EXTRACTOR@0 and so on; no fold is then encoded by what has seen its test patients.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from deepsmile.bag import load_bag
from deepsmile_training.cohorts.cohort import Cohort, load_cohort
from deepsmile_training.cohorts.labels import FoldLabels
from deepsmile_training.cohorts.problems import CohortInvalid, some
from deepsmile_training.cohorts.splits import Part, Split, load_split
from deepsmile_training.mil.bags import Slide, pack, subsample
from deepsmile_training.mil.training import Labelled
from deepsmile_training.prepared.features import FILE, FeatureSet, load_feature_set
from deepsmile_training.prepared.folds import of_fold


@dataclass(frozen=True)
class Packing:
    """How slides become bags; the paper's values (section 4.2.2, RESOLUTIONS rows 18 and 19)."""

    tiles: int | None = 500
    """Of a bag, chosen once; None: all."""
    seed: int = 0
    by_patient: bool = False
    """One bag of all of a patient's slides, instead of the mean of the slides' scores."""


@dataclass(frozen=True)
class Prepared:
    """A folder that `open_prepared` has checked."""

    root: Path
    cohort: Cohort
    split: Split

    @property
    def extractors(self) -> tuple[str, ...]:
        """Names of those whose features are there."""
        found = {path.parent.name for path in self.root.glob(f"features/*/{FILE}")}
        return tuple(sorted({name.partition("@")[0] for name in found}))

    def feature_set(self, extractor: str, fold: int) -> FeatureSet:
        """What an extractor has made for a fold.

        Raises:
            CohortInvalid: nothing, or not for every fold; or bags are gone or changed.
        """
        known = {path.name for path in self.root.glob("features/*")}
        name = of_fold(extractor, fold, len(self.split.folds), known)
        folder = self.root / "features" / name
        if not (folder / FILE).exists():
            have = ", ".join(self.extractors) or "none"
            raise CohortInvalid(
                f"no features by {name} for fold {fold}; there are: {have}",
                hint="Make them with `deepsmile-train features`.",
            )
        return load_feature_set(folder)

    def labelled(
        self, known: FeatureSet, labels: FoldLabels, part: Part, packing: Packing = Packing()
    ) -> Labelled:
        """One part of a fold as bags with classes; slides without features are left out.

        Raises:
            CohortInvalid: no slide of a class of that part has features, or they tell no tile from
                another.
            BagCorrupt, BundleMismatch: a bag is damaged, or another encoder's.
        """
        folder, digest = self.root / "features" / known.folder, known.features.digest
        there = known.slides
        slides = [
            _slide(folder / f"{name}.npz", there[name], digest, patient, packing)
            for patient in labels.patients(part)
            for name in self.cohort.by_name[patient].slides
            if name in there
        ]
        found = {labels.of[slide.patient] for slide in slides}
        absent = [name for index, name in enumerate(labels.classes) if index not in found]
        if absent:
            raise CohortInvalid(
                f"label {labels.label}: no {part} slide with features is {some(absent)}"
            )
        kept = pack(slides, tiles=packing.tiles, seed=packing.seed, by_patient=packing.by_patient)
        if bool((kept.features == kept.features[0]).all()):
            raise CohortInvalid(
                f"features/{known.folder}: all tiles of the {part} slides have the same features",
                hint="The encoder tells nothing apart; extract with another one.",
            )
        return Labelled(kept, np.array([labels.of[name] for name in kept.patients], np.int64))


def open_prepared(root: Path) -> Prepared:
    """A prepared cohort, its split verified against it."""
    cohort = load_cohort(root / "cohort.json")
    return Prepared(root, cohort, load_split(root / "split.json", cohort))


@lru_cache(maxsize=4096)
def _slide(path: Path, _sha256: str, digest: str, patient: str, packing: Packing) -> Slide:
    """A slide's features, kept for the other folds; subsampled here, where they need memory."""
    name, features = path.stem, load_bag(path, digest).features  # (N, H)
    if packing.tiles is not None and not packing.by_patient and len(features) > packing.tiles:
        rows = subsample(len(features), packing.tiles, seed=packing.seed, name=name)  # (tiles,)
        features = features[rows]  # (tiles, H)
    return Slide(name, patient, features)
