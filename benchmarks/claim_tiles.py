"""Tile supervision (paper section 4.2.1) on the very features that the heads get."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd
import torch

from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.mil.recipe import PoolSpec, Recipe
from deepsmile_training.mil.training import Fitted, Labelled, fit, predict
from deepsmile_training.prepared.prepared import Prepared
from deepsmile_training.supervised.voting import Vote, vote

RECIPE = Recipe(batch=256)
"""The heads' recipe; 16 slides of 16 tiles are 256 tiles."""
EXTRACTOR = "demo"


def tile_supervised(
    prepared: Prepared, label: str, fold: int, starts: int
) -> dict[str, pd.DataFrame]:
    """By each way of voting, test patients with y and p; a linear layer on every tile's features.

    A tile is a bag of its own to a head that takes means, so that nothing else differs from the
    training of the heads: standardisation, start, recipe, choice by validation.
    """
    known = prepared.feature_set(EXTRACTOR, fold)
    labels = resolve_labels(prepared.cohort, prepared.split.folds[fold], label)
    parts = {part: prepared.labelled(known, labels, part) for part in ("train", "val", "test")}
    training, validation = one_by_one(parts["train"]), one_by_one(parts["val"])
    fitted = [
        fit(PoolSpec(kind="mean"), training, validation=validation, recipe=RECIPE, seed=seed)
        for seed in range(starts)
    ]
    best = max(fitted, key=_validation_auc)
    test = parts["test"].bags
    slides = np.repeat(np.arange(len(test)), test.sizes.numpy())  # (n,)
    p = predict(best.head, one_by_one(parts["test"]).bags)  # (n, C)
    tables = {}
    for rule in get_args(Vote):
        patients, voted = vote(p, slides, test.patients, rule)  # (k,), (k, C)
        y = [labels.of[name] for name in patients]
        tables[rule] = pd.DataFrame({"patient": patients, "y": y, "p": voted[:, 1]})
    return tables


def _validation_auc(fitted: Fitted) -> float:
    assert fitted.best is not None, "there is a validation part"
    return fitted.best.auc


def one_by_one(part: Labelled) -> Labelled:
    """Every tile as a bag with its patient's name and class."""
    sizes = part.bags.sizes.numpy()  # (n,)
    patients = tuple(np.repeat(np.array(part.bags.patients), sizes).tolist())
    bags = replace(part.bags, offsets=torch.arange(sizes.sum() + 1), patients=patients)
    return Labelled(bags, np.repeat(part.y, sizes))
