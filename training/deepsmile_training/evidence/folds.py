"""Folds: validation patients in equal parts, each with both classes in their proportions."""

import numpy as np
from numpy.typing import NDArray

from deepsmile.errors import RequestInvalid
from deepsmile_training.metrics import Labels

FOLDS = 5
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows (n - k,) outside the fold, and the rows (k,) in it."""


def stratified_folds(y: Labels, seed: int, folds: int = FOLDS) -> list[Fold]:
    """Every patient is in one fold; equal seeds give equal folds."""
    from sklearn.model_selection import StratifiedKFold

    rarest = int(np.bincount(y, minlength=2).min())
    if rarest < folds:
        raise RequestInvalid(
            f"{folds} folds need {folds} patients of each class, and one has {rarest}:"
            " a fold would be without it",
            hint="Bring more validation patients.",
        )
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(y, y))
