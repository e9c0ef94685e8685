"""Members: a label's ensemble, and for every fold one like it that knows nothing of the fold.

What is calibrated must be what is served: a mean of members whose best steps were chosen by
validation patients, asked about patients who neither trained nor chose. So the patients of
fold k are predicted by members that leave out fold k and, each, one fold j more, which chooses
their best step: K (K - 1) trainings beside the K that are served.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile.pipeline import positive_probabilities
from deepsmile_training.bundling.development import Development
from deepsmile_training.bundling.kept import trained_once
from deepsmile_training.bundling.source import Source
from deepsmile_training.cohorts.labels import FoldLabels
from deepsmile_training.evidence.predictions import ValidationPredictions
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.ensemble import Ensemble
from deepsmile_training.mil.training import Evaluation, Fitted, fit


@dataclass(frozen=True)
class Members:
    """What is served, and what judges it."""

    served: Ensemble
    best: tuple[Evaluation, ...]
    """The step that was kept of each."""
    judges: tuple[Ensemble, ...]
    """Of each fold, K - 1 members that it had no part in."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Every development patient, predicted by strangers from whole slides, as serving would."""

    validation: ValidationPredictions
    means: NDArray[np.float64]
    """(slides, D) mean feature of each."""
    folds: NDArray[np.int64]
    """(slides,)"""
    patients: tuple[str, ...]
    """Whose each slide is."""
    tiles: int
    too_small: int
    """Slides with fewer tiles than the head asks for; no other number counts them."""


def trainings_needed(folds: int) -> int:
    """Heads that `train_members` trains."""
    return folds * folds


def train_members(
    source: Source, development: Development, config: MilConfig, advance: Callable[[], None]
) -> Members:
    """Train all of them, or go on where it stopped; equal seeds give equal members."""

    def member(labels: FoldLabels) -> Fitted:
        fitted = train_one(source, labels, config)
        advance()
        return fitted

    folds = range(len(development.split))
    served = [member(development.served(k)) for k in folds]
    judges = [
        Ensemble([member(development.inner(k, j)).head for j in folds if j != k]).eval()
        for k in folds
    ]
    return Members(
        served=Ensemble([one.head for one in served]).eval(),
        best=tuple(one.best for one in served if one.best is not None),
        judges=tuple(judges),
    )


def train_one(source: Source, labels: FoldLabels, config: MilConfig) -> Fitted:
    """A head on the training part of these labels; their validation chooses its step."""

    def train() -> Fitted:
        training, validation = (source.labelled(labels, part, config) for part in ("train", "val"))
        recipe, seed = config.recipe, config.seed
        return fit(config.head, training, validation=validation, recipe=recipe, seed=seed)

    return trained_once(source, labels, config, train)


def predict_held_out(
    source: Source, development: Development, members: Members, min_tiles: int
) -> HeldOut:
    """Out-of-fold probabilities of patients, the mean of their slides' (RESOLUTIONS row 18)."""
    p: dict[str, list[float]] = {}
    means, folds, owners, tiles, too_small = [], [], [], 0, 0
    for k, patients in enumerate(development.folds):
        for patient in patients:
            for bag in source.bags(patient):
                if len(bag.features) < min_tiles:
                    too_small += 1
                    continue
                p.setdefault(patient, []).append(probability(members.judges[k], bag.features))
                means.append(bag.features.mean(axis=0, dtype=np.float64))  # (D,)
                folds.append(k)
                owners.append(patient)
                tiles += len(bag.features)
    names = tuple(sorted(p))
    validation = ValidationPredictions(
        patients=names,
        y=np.array([development.of[name] for name in names], np.int64),
        p=np.array([np.mean(p[name]) for name in names], np.float64),
        slides=tuple(len(p[name]) for name in names),
    )
    return HeldOut(
        validation, np.array(means), np.array(folds, np.int64), tuple(owners), tiles, too_small
    )


@torch.no_grad()
def probability(ensemble: Ensemble, features: Features) -> float:
    """An ensemble's raw probability of the positive class for one slide (N, D)."""
    logits, _ = ensemble(torch.from_numpy(features))  # (M, 2)
    return float(positive_probabilities(logits.numpy()).mean())
