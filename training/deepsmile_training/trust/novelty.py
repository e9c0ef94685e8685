"""Novelty: the training slides' space, and a threshold that spares slides like them.

The threshold is a conformal quantile of the scores of patients in folds that took no part in the
space they were scored in, and whose distance from it is compared with those of other folds; a
patient's is the largest of its slides', so that the promise holds whichever of a patient's slides
is sent. So at most `rate` of further patients who are exchangeable with those of the training have
a slide declined, but for the last step: the space that is served is fitted on all folds, which
brings such slides a little nearer (as cross-conformal prediction does; measured in the tests). How
many unlike slides are found is no promise: it depends on how unlike they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile.contract import Novelty
from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile.novelty import TrainingSpace
from deepsmile_training.trust.conformal import conformal_rank

RATE = 0.01
"""Of slides like the training slides, declined all the same, unless a plan says otherwise."""
DIRECTIONS = 16
"""Most directions of a space: enough for stain and tissue, 64 KB at 1,024 features."""
FAINTEST = 1e-6
"""Directions with less of the first one's spread are noise of the arithmetic."""

Means = NDArray[np.float64]
"""(slides, D) mean feature of each slide."""
Indices = NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True)
class FittedNovelty:
    """A space, and the score above which slides are declined."""

    space: TrainingSpace
    threshold: float
    rate: float
    slides: int
    """On whose held-out scores the threshold was chosen."""
    patients: int
    """Whose slides they are."""

    def write(self, path: Path) -> Novelty:
        """Write the space, and what the contract says of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.space.save(path)
        return Novelty(
            sha256=digest_of_file(path),
            threshold=self.threshold,
            rate=self.rate,
            basis=f"held-out scores of {self.slides} training slides{self._of_patients}",
        )

    @property
    def _of_patients(self) -> str:
        one_each = self.patients == self.slides
        return "" if one_each else f", the largest of each of {self.patients} patients"


def mean_features(bags: Sequence[Features]) -> Means:
    """Mean feature of each bag (N_b, D), (slides, D)."""
    return np.stack([bag.mean(axis=0, dtype=np.float64) for bag in bags])


def patients_needed(rate: float) -> int:
    """Fewest patients on whom a threshold can keep the rate."""
    return math.ceil(round(1 / rate, 9)) - 1


def fit_novelty(
    means: Means,
    folds: Sequence[Indices],
    *,
    patients: Sequence[str] | None = None,
    rate: float = RATE,
    directions: int = DIRECTIONS,
) -> FittedNovelty:
    """Fit on the slides that `folds` name, patients never in two of them.

    Args:
        patients: Whose each slide is; None: each has one.

    Raises:
        RequestInvalid: too few patients for the rate, or fewer than two folds.
    """
    slides = np.concatenate(folds)  # (n,)
    _, owners = np.unique(
        slides if patients is None else np.array(patients)[slides], return_inverse=True
    )  # (n,)
    people = int(owners.max()) + 1
    if people < patients_needed(rate) or len(folds) < 2:
        raise RequestInvalid(
            f"a novelty threshold for a rate of {rate:g} needs {patients_needed(rate)} patients in"
            f" folds, not {people} in {len(folds)}"
        )
    parts = [*(_others(folds, k) for k in range(len(folds))), slides]
    *spaces, whole = _alike([_space(means[part], directions) for part in parts])
    rests = [
        np.array([space.place(means[i])[1] for i in fold])
        for space, fold in zip(spaces, folds, strict=True)
    ]  # (slides of the fold,) each
    scores = [
        replace(space, rest=_rest(_others(rests, k))).score_of_mean(means[i])
        for k, (space, fold) in enumerate(zip(spaces, folds, strict=True))
        for i in fold
    ]
    largest = np.zeros(people)  # (people,)
    np.maximum.at(largest, owners, scores)
    threshold = np.sort(largest)[conformal_rank(people, 1 - rate) - 1]
    served = replace(whole, rest=_rest(np.concatenate(rests)))
    return FittedNovelty(served, float(threshold), rate, len(slides), people)


def _others(parts: Sequence[NDArray[Number]], left_out: int) -> NDArray[Number]:
    return np.concatenate([part for k, part in enumerate(parts) if k != left_out])


def _rest(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean and spread of held-out slides' distances (n,) from the directions, (2,)."""
    return np.array([distances.mean(), max(distances.std(), np.finfo(float).tiny)])


def _alike(spaces: Sequence[TrainingSpace]) -> list[TrainingSpace]:
    """Each with the first k directions, k the least of theirs.

    A score sums k squares: with more than the threshold saw, slides would pass it by that alone.
    """
    k = min(len(space.scale) for space in spaces)
    return [
        replace(space, directions=space.directions[:k], scale=space.scale[:k]) for space in spaces
    ]


def _space(means: Means, directions: int) -> TrainingSpace:
    """The main directions of slides (n, D); what lies beyond them is not yet measured."""
    centre = means.mean(axis=0)  # (D,)
    _, spread, rows = np.linalg.svd(means - centre, full_matrices=False)  # (m,), (m, D)
    clear = int((spread > FAINTEST * spread[0]).sum())
    k = max(1, min(directions, clear, means.shape[1] - 1, (len(means) - 1) // 2))
    scale = spread[:k] / math.sqrt(len(means) - 1)  # (k,)
    return TrainingSpace(centre, rows[:k].astype(np.float32), scale, np.array([0.0, 1.0]))
