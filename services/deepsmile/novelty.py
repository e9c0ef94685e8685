"""Novelty: how unlike the training slides a slide is, by the mean of its tiles' features.

The score is a Mahalanobis distance (Lee et al. 2018) in the main directions of the training
slides, with the distance from those directions as one more coordinate:

    d = mean feature - centre          z_j = (d . direction_j) / scale_j,  j = 1..k
    r = |d - its part along the directions|      e = max(0, (r - rest_mean) / rest_std)
    score = sqrt(z_1^2 + ... + z_k^2 + e^2)

The first part sees a slide that is extreme in a way the training slides vary; e sees one that
differs in a way they never did. Computed here, whichever backend runs the models.
"""

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile.bundle import Bundle, read_verified
from deepsmile.contract import Head
from deepsmile.disk import replacing
from deepsmile.errors import BundleCorrupt, BundleMismatch, OutOfDistribution

DECIMALS = 6
"""Scores are rounded to this, as probabilities are."""
FORMAT_ERRORS = (zipfile.BadZipFile, EOFError, KeyError, OSError, TypeError, ValueError)


@dataclass(frozen=True)
class TrainingSpace:
    """Where the training slides' mean features lie; what the .npz file holds."""

    centre: NDArray[np.float64]
    """(D,)"""
    directions: NDArray[np.float32]
    """(k, D) orthonormal rows"""
    scale: NDArray[np.float64]
    """(k,) standard deviation along each direction"""
    rest: NDArray[np.float64]
    """(2,) mean and standard deviation of the distance from the directions"""

    def score(self, features: Features) -> float:
        """Novelty of a slide with features (N, D)."""
        return self.score_of_mean(features.mean(axis=0, dtype=np.float64))

    def score_of_mean(self, mean: NDArray[np.float64]) -> float:
        """Novelty of a slide with mean feature (D,), rounded."""
        z, r = self.place(mean)  # (k,), ()
        e = max(0.0, (r - self.rest[0]) / self.rest[1])
        return round(math.sqrt(float(z @ z) + e * e), DECIMALS)

    def place(self, mean: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Standardised place along the directions (k,), and distance from them, of a mean (D,)."""
        d = mean - self.centre  # (D,)
        along = self.directions.astype(np.float64) @ d  # (k,)
        rest = d - along @ self.directions  # (D,)
        return along / self.scale, float(np.linalg.norm(rest))

    @classmethod
    def load(cls, content: bytes) -> Self:
        """Read a file's bytes; raises one of `FORMAT_ERRORS` if they are none of ours."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            space = cls(**dict(arrays))
        k, feature_dim = space.directions.shape
        shapes = [part.shape for part in vars(space).values()]
        if shapes != [(feature_dim,), (k, feature_dim), (k,), (2,)]:
            raise ValueError(f"shapes that do not fit: {shapes}")
        return space

    def save(self, path: Path) -> None:
        """Write the .npz file; equal spaces give equal bytes."""
        with replacing(path) as file:
            np.savez(file, **vars(self))


def check_novelty(features: Features, head: Head, bundle: Bundle) -> float | None:
    """The novelty score of a slide's features (N, D); None: the head has no rule.

    Raises:
        OutOfDistribution: the score is above the head's threshold.
        BundleCorrupt: the file changed since the bundle was verified, or holds no such space.
        BundleMismatch: it is for features of another length.
    """
    rule = head.novelty
    if rule is None:
        return None
    space = _read(bundle.novelty_path(rule), rule.sha256)
    if space.centre.shape != features.shape[1:]:
        raise BundleMismatch(f"the novelty of {head.name} is for {len(space.centre)} features")
    score = space.score(features)
    if not score <= rule.threshold:
        raise OutOfDistribution(
            f"novelty {score:.2f}, above {rule.threshold:.2f}: unlike the training slides of"
            f" the head {head.name}"
        )
    return score


def _read(path: Path, sha256: str) -> TrainingSpace:
    content = read_verified(path, sha256)
    try:
        return TrainingSpace.load(content)
    except FORMAT_ERRORS as error:
        raise BundleCorrupt(f"{path.name}: {type(error).__name__}: {error}") from error
