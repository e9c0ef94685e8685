"""Bag: a slide's tile features, with where they lie and under which contract they were made."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepsmile.disk import replacing
from deepsmile.errors import BagCorrupt, BundleMismatch

DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
)
"""What zipfile and numpy raise over bytes that they did not write."""

Features = NDArray[np.float32]
"""(N, D), one row per tile."""


@dataclass(frozen=True)
class FeatureBag:
    """Features of every tissue tile of one slide, row by row of the grid."""

    features: Features
    """(N, D) float32"""
    cells: NDArray[np.int32]
    """(N, 2) column and row of each tile"""
    origin_l0: tuple[float, float]
    """(x, y) of the grid's corner, level-0 px"""
    step_l0: tuple[float, float]
    """(x, y) edge of a tile, level-0 px"""
    slide_sha256: str
    features_digest: str
    """Digest of the `FeatureContract` that made it."""

    @property
    def corners_l0(self) -> NDArray[np.float64]:
        """(N, 2) top left corner (x, y) of each tile, level-0 px."""
        corners: NDArray[np.float64] = np.add(self.origin_l0, self.cells * np.array(self.step_l0))
        return corners


def in_reading_order(
    features: list[Features], cells: list[NDArray[np.int32]], feature_dim: int
) -> tuple[Features, NDArray[np.int32]]:
    """Join batches, (N, D) and (N, 2), and sort them by row and then column."""
    if not cells:
        return np.empty((0, feature_dim), np.float32), np.empty((0, 2), np.int32)
    joined, places = np.concatenate(features), np.concatenate(cells)  # (N, D), (N, 2)
    order = np.lexsort((places[:, 0], places[:, 1]))  # (N,)
    return joined[order], places[order]


def save_bag(bag: FeatureBag, path: Path) -> None:
    """Write a bag so that readers see the old file or the new one, and it outlasts a power cut."""
    meta = {
        "origin_l0": bag.origin_l0,
        "step_l0": bag.step_l0,
        "slide_sha256": bag.slide_sha256,
        "features_digest": bag.features_digest,
    }
    with replacing(path) as file:
        np.savez(file, features=bag.features, cells=bag.cells, meta=np.array(json.dumps(meta)))


def load_bag(path: Path, features_digest: str) -> FeatureBag:
    """Read a bag back.

    Raises:
        BagCorrupt: the file is damaged, or none of ours.
        BundleMismatch: it was made under another contract.
    """
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                bag = _bag_of(dict(arrays))
        except DAMAGE as error:
            raise BagCorrupt(f"{path.name}: {type(error).__name__}: {error}") from error
    check_contract(bag, features_digest)
    return bag


def _bag_of(arrays: dict[str, NDArray[Any]]) -> FeatureBag:
    features, cells = arrays["features"], arrays["cells"]  # (N, D), (N, 2)
    fits = features.dtype == np.float32 and cells.dtype == np.int32
    if not fits or features.ndim != 2 or cells.shape != (len(features), 2):
        raise ValueError(f"{features.dtype} {features.shape} with {cells.dtype} {cells.shape}")
    meta = json.loads(str(arrays["meta"]))
    (origin_x, origin_y), (step_x, step_y) = meta["origin_l0"], meta["step_l0"]
    return FeatureBag(
        features=features,
        cells=cells,
        origin_l0=(origin_x, origin_y),
        step_l0=(step_x, step_y),
        slide_sha256=meta["slide_sha256"],
        features_digest=meta["features_digest"],
    )


def check_contract(bag: FeatureBag, features_digest: str) -> None:
    """Raises BundleMismatch unless the bag was made under the contract of that digest."""
    if bag.features_digest != features_digest:
        found, needed = bag.features_digest[:12], features_digest[:12]
        raise BundleMismatch(f"the features were made under contract {found}, not {needed}")
