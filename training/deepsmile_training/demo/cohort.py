"""Cohort: which synthetic slides there are, their labels, and who is tested on whom."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsmile.digest import digest_of, digest_of_file
from deepsmile_training import synthetic
from deepsmile_training.synthetic.specimen import SlideSpec, draw_spec

COHORT, PRETEXT, SHOWN = 0, 1, 2
"""Streams of seeds that never meet: the cohort, the encoder's own slides, the demo's two."""
TEST_SHARE = 0.25
"""Of the slides, paper section 3.1.2."""
FOLDS = 5
"""Paper section 3.1.2."""


@dataclass(frozen=True)
class Label:
    """A slide-level label; the names are the two classes' own and mean nothing clinical."""

    name: str
    negative: str
    positive: str
    of: Callable[[SlideSpec], bool]


HETEROGENEITY = Label(
    "heterogeneity", "homogeneous", "heterogeneous", lambda spec: spec.heterogeneous
)
CELLULARITY = Label("cellularity", "paucicellular", "cellular", lambda spec: spec.cellular)
LABELS = (HETEROGENEITY, CELLULARITY)


@dataclass(frozen=True)
class Split:
    """Indices of slides; one slide is one patient here."""

    test: NDArray[np.int64]
    """Touched once, for the final figures."""
    folds: tuple[NDArray[np.int64], ...]
    """The rest, in parts; each is held out of one member's training."""

    def training(self, *left_out: int) -> NDArray[np.int64]:
        """All slides of the other folds, sorted."""
        others = [part for k, part in enumerate(self.folds) if k not in left_out]
        return np.sort(np.concatenate(others))


def slide_seed(seed: int, stream: int, index: int) -> int:
    """A seed of its own for each slide of each stream."""
    return int(np.random.SeedSequence([seed, stream, index]).generate_state(1)[0])


def draw_cohort(
    seed: int,
    slides: int,
    *,
    stream: int = COHORT,
    tissue_tiles: tuple[float, float] = (25.0, 65.0),
) -> tuple[SlideSpec, ...]:
    """`slides` specimens, the four combinations of the two labels in equal numbers."""
    order = np.random.default_rng([seed, stream]).permutation(slides) % 4  # (slides,)
    return tuple(
        draw_spec(
            slide_seed(seed, stream, index),
            heterogeneous=bool(combination & 1),
            cellular=bool(combination & 2),
            tissue_tiles=tissue_tiles,
        )
        for index, combination in enumerate(order.tolist())
    )


def split_cohort(specs: Sequence[SlideSpec], seed: int) -> Split:
    """Test slides and folds, stratified by both labels at once."""
    rng = np.random.default_rng([seed, len(specs)])
    part = np.empty(len(specs), np.int64)  # (slides,) -1: test, else the fold
    strata = np.array([2 * spec.heterogeneous + spec.cellular for spec in specs])  # (slides,)
    dealt = 0
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        tested = round(TEST_SHARE * len(members))
        part[members[:tested]] = -1
        rest = members[tested:]
        part[rest] = (np.arange(len(rest)) + dealt) % FOLDS
        dealt += len(rest)
    folds = tuple(np.flatnonzero(part == fold) for fold in range(FOLDS))
    return Split(np.flatnonzero(part == -1), folds)


def labels_of(label: Label, specs: Sequence[SlideSpec]) -> NDArray[np.int64]:
    """(slides,) 1 where the label is positive, else 0."""
    return np.array([int(label.of(spec)) for spec in specs], np.int64)


def recipe_digest(specs: Sequence[SlideSpec]) -> str:
    """Digest of the specimens and of the painter's own source: when it changes, so do slides."""
    folder = Path(synthetic.__path__[0])
    source = {path.name: digest_of_file(path) for path in sorted(folder.glob("*.py"))}
    return digest_of({"specs": [asdict(spec) for spec in specs], "source": source})
