"""Probe: what features tell about tiles, by their neighbours and by a linear model."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile_training.metrics import COVERAGE, RESAMPLES, Estimate

Names = NDArray[np.str_]
"""(n,) of labels or of groups, one per tile."""
Correct = NDArray[np.bool_]
"""(n,) whether each tile was told right."""

K = 20
FOLDS = 5
CHUNK = 1024
"""Tiles compared with all others at once."""
STRENGTH = 0.01
"""Inverse of the linear probe's L2 penalty, for standardised features."""


def knn_correct(features: Features, labels: Names, groups: Names | None, k: int) -> Correct:
    """Whether the `k` most similar tiles outside a tile's group vote for its label.

    By cosine similarity; every neighbour has one vote, and of a tie the nearest one decides.
    Without groups a tile is a group of its own.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)  # (n, 1)
    unit = features / np.maximum(lengths, np.finfo(np.float32).tiny)  # (n, D)
    values, codes = np.unique(labels, return_inverse=True)  # (C,), (n,)
    own = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    votes = 1 + 0.5 ** np.arange(1, k + 1)  # (k,) the extras add up to less than a vote
    told = [
        _told(unit[rows] @ unit.T, own[rows, None] == own, codes, votes, len(values))
        for rows in np.array_split(np.arange(len(unit)), len(unit) // CHUNK + 1)
    ]
    correct: Correct = np.concatenate(told) == codes  # (n,)
    return correct


def _told(
    similarity: NDArray[np.float32],
    excluded: NDArray[np.bool_],
    codes: NDArray[np.int64],
    votes: NDArray[np.floating],
    classes: int,
) -> NDArray[np.int64]:
    """The class that each row's neighbours vote for, (b,); -1 where it has none.

    `similarity` and `excluded` are (b, n).
    """
    similarity = np.where(excluded, -np.inf, similarity)  # (b, n)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : len(votes)]  # (b, k)
    counted = np.isfinite(np.take_along_axis(similarity, nearest, axis=1))  # (b, k)
    weights = counted * votes[: nearest.shape[1]]  # (b, k)
    is_class = codes[nearest][..., None] == np.arange(classes)  # (b, k, C)
    totals = (weights[..., None] * is_class).sum(axis=1)  # (b, C)
    return np.where(counted.any(axis=1), totals.argmax(axis=1), -1)


def linear_correct(features: Features, labels: Names, groups: Names | None, seed: int) -> Correct:
    """Whether logistic regression on the other folds tells a tile right; groups stay whole."""
    told = np.empty_like(labels)  # (n,)
    for train, test in _folds(labels, groups, seed):
        known = np.unique(labels[train])
        if len(known) == 1:
            told[test] = known[0]
            continue
        told[test] = _fitted(features[train], labels[train]).predict(features[test])
    correct: Correct = told == labels  # (n,)
    return correct


def _folds(
    labels: Names, groups: Names | None, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    from sklearn.model_selection import GroupKFold, KFold

    if groups is None:
        each = KFold(min(FOLDS, len(labels)), shuffle=True, random_state=seed)
        return list(each.split(labels))
    folds = GroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed)
    return list(folds.split(labels, groups=groups))


def _fitted(features: Features, labels: Names) -> Any:  # noqa: ANN401 - sklearn has no types
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: accuracy has settled
        return model.fit(features, labels)


def over_cases(correct: NDArray[Any], cases: Names, seed: int) -> Estimate:
    """The mean of `correct` (n,) over tiles, its interval by resampling whole cases."""
    _, codes = np.unique(cases, return_inverse=True)  # (n,)
    totals = np.bincount(codes, correct)  # (cases,)
    sizes = np.bincount(codes)  # (cases,)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(sizes), size=(RESAMPLES, len(sizes)))  # (RESAMPLES, cases)
    means = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)  # (RESAMPLES,)
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(correct.mean()), float(low), float(high))
