"""Fit: an ensemble of VarMIL heads, one member per fold (paper sections 3.1.2 and 4.2.2)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepsmile.bag import Features
from deepsmile.pipeline import positive_probabilities
from deepsmile_training.demo.cohort import Split
from deepsmile_training.metrics import Labels, Probabilities
from deepsmile_training.mil import recipe as mil
from deepsmile_training.mil.bags import Slide, pack, pad_bags
from deepsmile_training.mil.ensemble import Ensemble
from deepsmile_training.mil.heads import VarMIL
from deepsmile_training.mil.recipe import VarMILSpec
from deepsmile_training.mil.training import Labelled, fit


@dataclass(frozen=True)
class Recipe:
    """How a head is trained: the paper's values, section 4.2.2, and one deviation.

    Deviation: the last epoch's weights are used. The paper keeps the weights with the best AUC
    on the validation fold (Algorithm 1); here those slides calibrate, so nothing may be chosen
    on them.
    """

    learning_rate: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-4
    batch: int = 16
    epochs: int = 16
    balanced: bool = True
    """Cross-entropy weighted to balance the classes (section 4.2)."""

    def of_heads(self) -> mil.Recipe:
        """The same, with all tiles."""
        return mil.Recipe(tiles=None, **asdict(self))


@dataclass(frozen=True)
class Fit:
    """An ensemble, and what one made like it says of slides that it was not trained on."""

    ensemble: Ensemble
    slides: NDArray[np.int64]
    """(n,) indices of the slides outside the test set."""
    out_of_fold: Probabilities
    """(n,) raw probabilities."""


def fit_ensemble(
    bags: list[Features],
    y: Labels,
    split: Split,
    seed: int,
    *,
    recipe: Recipe = Recipe(),
    advance: Callable[[], None] = lambda: None,
) -> Fit:
    """Train one member per fold on the other folds; test slides are never looked at.

    What is calibrated must be what is served: the mean of an ensemble, which is surer and more
    often right than one member. So the out-of-fold probability of a slide in fold k is the mean
    of members that leave out fold k and one fold j more, for every j: K (K - 1) / 2 further fits.
    """
    tensors = [torch.from_numpy(bag) for bag in bags]

    def member(*left_out: int) -> VarMIL:
        chosen = split.training(*left_out)
        fitted = fit_member([tensors[i] for i in chosen], y[chosen], recipe, seed)
        advance()
        return fitted

    folds = range(len(split.folds))
    inner = {pair: member(*pair) for pair in combinations(folds, 2)}
    out_of_fold = np.full(len(bags), np.nan)  # (slides,)
    for k in folds:
        others = [inner[pair] for pair in inner if k in pair]
        for i in split.folds[k]:
            out_of_fold[i] = np.mean([probability(one, tensors[i]) for one in others])
    slides = np.sort(np.concatenate(split.folds))
    served = Ensemble([member(k) for k in folds]).eval()
    return Fit(served, slides, out_of_fold[slides])


def fits_needed(folds: int) -> int:
    """Members that `fit_ensemble` trains."""
    return folds + folds * (folds - 1) // 2


def fit_member(bags: list[Tensor], y: Labels, recipe: Recipe, seed: int) -> VarMIL:
    """Train one member on `bags` (N_b, H) with labels (n,)."""
    slides = [Slide(f"{i}", f"{i}", bag.numpy()) for i, bag in enumerate(bags)]
    fitted = fit(VarMILSpec(), Labelled(pack(slides), y), recipe=recipe.of_heads(), seed=seed)
    assert isinstance(fitted.head, VarMIL), "its specification says so"
    return fitted.head


@torch.no_grad()
def probability(member: VarMIL, bag: Tensor) -> float:
    """A member's raw probability of the positive class for one bag (N, H)."""
    logits, _ = member(*pad_bags([bag]))  # (1, 2)
    return float(positive_probabilities(logits.numpy())[0])
