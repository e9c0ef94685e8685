"""Heads of every kind, small, and bags to feed them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from deepsmile_training.mil.heads import DeepMIL, GatedMIL, Head, MaxMIL, MeanMIL, VarMIL
from deepsmile_training.mil.transmil import TransMIL

WIDTH = 5

MAKERS: dict[str, Callable[[int, int], Head]] = {
    "deepmil": lambda width, classes: DeepMIL(width, nu=7, classes=classes),
    "varmil": lambda width, classes: VarMIL(width, nu=7, classes=classes),
    "varmil_std": lambda width, classes: VarMIL(width, nu=7, classes=classes, spread="std"),
    "gated": lambda width, classes: GatedMIL(width, nu=7, classes=classes),
    "embedded": lambda width, classes: DeepMIL(width, nu=7, classes=classes, embedding=(6, 4)),
    "mean": lambda width, classes: MeanMIL(width, classes=classes),
    "max": lambda width, classes: MaxMIL(width, classes=classes),
    "transmil": lambda width, classes: TransMIL(width, width=8, heads=2, classes=classes),
}


def make_head(name: str, width: int = WIDTH, classes: int = 2, seed: int = 0) -> Head:
    """A head with biases that are not zero, standardised, in float32, in eval mode."""
    torch.manual_seed(seed)
    head = MAKERS[name](width, classes)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    head.standardise_for(torch.randn(20, width) * 3 + 1)
    return head.eval()


@pytest.fixture(params=MAKERS)
def head(request: pytest.FixtureRequest) -> Head:
    return make_head(request.param)


def varied_bags(
    y: np.ndarray, seed: int = 0, sizes: tuple[int, int] = (10, 40)
) -> list[np.ndarray]:
    """Bags with the same mean; those of class 1 vary more between tiles in feature 0."""
    rng = np.random.default_rng(seed)
    bags = []
    for label in y:
        bag = rng.normal(5, 0.3, (int(rng.integers(10, 40)), WIDTH))
        bag[:, 0] += rng.choice([-1, 1], len(bag)) if label else 0
        bags.append(bag.astype(np.float32))
    return bags
