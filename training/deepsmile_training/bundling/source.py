"""Source: one extractor's features of a prepared cohort, for one encoder."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from deepsmile.bag import FeatureBag, load_bag
from deepsmile.contract import FeatureContract
from deepsmile.errors import BundleMismatch
from deepsmile_training.cohorts.labels import FoldLabels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import Part
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.training import Labelled
from deepsmile_training.prepared.features import FeatureSet
from deepsmile_training.prepared.prepared import Packing, Prepared


@dataclass(frozen=True)
class Source:
    """Bags to train on, subsampled as a recipe says, and whole ones as serving has them."""

    prepared: Prepared
    known: FeatureSet

    def slides(self, patient: str) -> tuple[str, ...]:
        """A patient's slides that have features."""
        names = self.prepared.cohort.by_name[patient].slides
        return tuple(name for name in names if name in self._there)

    @cached_property
    def _there(self) -> frozenset[str]:
        return frozenset(self.known.slides)

    def bags(self, patient: str) -> Iterator[FeatureBag]:
        """All tiles of each of a patient's slides, one slide in memory at a time."""
        return map(self.bag, self.slides(patient))

    def bag(self, slide: str) -> FeatureBag:
        """All tiles of a slide."""
        return load_bag(self._path(slide), self.known.features.digest)

    def _path(self, slide: str) -> Path:
        return self.prepared.root / "features" / self.known.folder / f"{slide}.npz"

    def tiles(self, slide: str) -> int:
        """How many a slide has; their features stay unread."""
        with np.load(self._path(slide)) as arrays:
            return len(arrays["cells"])

    def labelled(self, labels: FoldLabels, part: Part, config: MilConfig) -> Labelled:
        """One part of a fold, as a head is trained on it."""
        packing = Packing(config.recipe.tiles, config.seed, config.by_patient)
        return self.prepared.labelled(self.known, labels, part, packing)


def open_source(prepared: Prepared, extractor: str, contract: FeatureContract) -> Source:
    """The features that every fold uses.

    Raises:
        CohortInvalid: none, or other ones for each fold: a bundle has one encoder.
        BundleMismatch: they are of another encoder, or of tiles cut by other rules.
    """
    sets = [prepared.feature_set(extractor, k) for k in range(len(prepared.split.folds))]
    first = sets[0]
    if any(one.digest != first.digest for one in sets):
        raise CohortInvalid(
            f"{extractor} was pre-trained for each fold, and a bundle has one encoder",
            hint="Pre-train one on the patients that are not tested, and extract with it.",
        )
    if first.features.digest != contract.digest:
        made, asked = first.features.encoder, contract.encoder
        same = made.sha256 == asked.sha256
        why = "by other tile rules" if same else f"by {made.name} ({made.sha256[:12]})"
        raise BundleMismatch(
            f"the features {extractor} were made {why}, not by {asked.name} ({asked.sha256[:12]})",
            hint="Name the encoder that made them, or make them with `deepsmile-train features`.",
        )
    return Source(prepared, first)
