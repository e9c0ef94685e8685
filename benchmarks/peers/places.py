"""Places: which tiles of two tools lie at the same place, and how alike their features are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.protocol import Corners
from deepsmile.bag import Features

NEAR_PX = 4.0
"""Level-0 px that two corners may lie apart: rounding, not another tile; 1 um at 0.25 um per px."""


@dataclass(frozen=True)
class Pairs:
    """Rows of two tools' tiles that lie at the same place."""

    ours: NDArray[np.intp]
    theirs: NDArray[np.intp]
    apart_px: NDArray[np.float64]
    """(n, 2) theirs minus ours, level-0 px."""


def pair(ours: Corners, theirs: Corners) -> Pairs:
    """Each of our tiles with their nearest, where that is near enough."""
    apart = theirs[None] - ours[:, None]  # (N, M, 2)
    nearest = np.abs(apart).max(axis=2).argmin(axis=1)  # (N,)
    found = apart[np.arange(len(ours)), nearest]  # (N, 2)
    near = np.abs(found).max(axis=1) <= NEAR_PX  # (N,)
    return Pairs(np.flatnonzero(near), nearest[near], found[near])


def cosines(a: Features, b: Features) -> NDArray[np.float64]:
    """Cosine of each pair of rows, (n, D) and (n, D) -> (n,)."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)  # (n, D)
    norms = np.linalg.norm(wide_a, axis=1) * np.linalg.norm(wide_b, axis=1)  # (n,)
    alike: NDArray[np.float64] = (wide_a * wide_b).sum(axis=1) / norms  # (n,)
    return alike


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal to noise ratio of pixels against pixels; infinite for equal ones."""
    error = float(np.mean((a.astype(np.float32) - b) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
