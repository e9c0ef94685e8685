"""Training: an encoder with one linear layer, tile by tile (paper section 4.2.1, Algorithm 1).

The tiles of the store are read as they are needed; only the weights are held in memory. All is
computed where the encoder lies, a batch at once: of parts batch norms would see parts only.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.tile_encoder import TileEncoder
from deepsmile_training.metrics import Labels
from deepsmile_training.mil.heads import he_initialise
from deepsmile_training.mil.training import class_weight, patient_auc, weighted_loss
from deepsmile_training.supervised.recipe import SupervisedRecipe
from deepsmile_training.supervised.voting import Vote, vote

Read = Callable[[NDArray[np.int64]], RGB]
"""Tiles by their numbers: (B,) -> (B, size, size, 3) uint8."""


@dataclass(frozen=True)
class Tiles:
    """Tiles of patients with labels, by their numbers in a store."""

    read: Read
    numbers: NDArray[np.int64]
    """(n,)"""
    slides: NDArray[np.int64]
    """(n,) whose they are, an index into `patients`"""
    patients: tuple[str, ...]
    """Of each slide."""
    y: Labels
    """Class of each slide."""

    @property
    def labels(self) -> Labels:
        """(n,) each tile has its patient's (section 4.2.1)."""
        found: Labels = self.y[self.slides]
        return found


@dataclass(frozen=True)
class TileEvaluation:
    """How it stood after a step."""

    step: int
    loss: float
    """Mean of the batches since the evaluation before."""
    auc: float
    """Of validation patients."""


class TileClassifier(nn.Module):
    """An encoder and a He-initialised linear layer: tiles (B, size, size, 3) -> logits (B, C)."""

    def __init__(self, encoder: TileEncoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classify = nn.Linear(encoder.feature_dim, classes)
        he_initialise(self.classify)
        self.to(encoder.device)

    def forward(self, tiles: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.encoder(tiles))  # (B, C)
        return logits


@dataclass(frozen=True)
class FittedTiles:
    """The classifier with the best validation AUC, and how it got there."""

    classifier: TileClassifier
    curve: tuple[TileEvaluation, ...]
    best: TileEvaluation


def fit_tiles(
    encoder: TileEncoder,
    training: Tiles,
    *,
    validation: Tiles,
    recipe: SupervisedRecipe,
    seed: int = 0,
    advance: Callable[[], None] = lambda: None,
) -> FittedTiles:
    """Tune a copy of the encoder; of equally good evaluations the first one's weights are kept.

    Raises:
        RequestInvalid: labels of one class.
    """
    classes = _classes(training, validation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = TileClassifier(deepcopy(encoder), classes)
        curve: list[TileEvaluation] = []
        best, weights = None, classifier.state_dict()
        losses: list[float] = []
        total = recipe.epochs * _steps(training, recipe)
        for step, loss in enumerate(tune(classifier, training, recipe, classes), start=1):
            losses.append(loss)
            advance()
            if step % recipe.evaluate_every and step < total:
                continue
            value = tile_auc(predict_tiles(classifier, validation), validation, recipe.vote)
            now = TileEvaluation(step, float(np.mean(losses)), value)
            losses = []
            curve.append(now)
            if best is None or now.auc > best.auc:
                best, weights = now, deepcopy(classifier.state_dict())
    assert best is not None, "the last step is always evaluated"
    classifier.load_state_dict(weights)
    return FittedTiles(classifier.eval(), tuple(curve), best)


@torch.no_grad()
def predict_tiles(classifier: TileClassifier, tiles: Tiles, batch: int = 64) -> NDArray[np.float64]:
    """Probability of each class for each tile, (n, C)."""
    classifier.eval()
    device, found = classifier.encoder.device, []
    for start in range(0, len(tiles.numbers), batch):
        pixels = torch.from_numpy(tiles.read(tiles.numbers[start : start + batch]))  # (B, s, s, 3)
        p = classifier(pixels.to(device)).double().softmax(dim=1)  # (B, C)
        found.append(p.cpu().numpy())
    return np.concatenate(found)


def tile_auc(p: NDArray[np.float64], tiles: Tiles, rule: Vote) -> float:
    """AUC of patients by the vote of their tiles (n, C); of many classes, each against the rest."""
    names, voted = vote(p, tiles.slides, tiles.patients, rule)  # (k,), (k, C)
    of_name = dict(zip(tiles.patients, tiles.y.tolist(), strict=True))
    return patient_auc(voted, np.array([of_name[name] for name in names], np.int64), names)


def tune(
    classifier: TileClassifier, training: Tiles, recipe: SupervisedRecipe, classes: int
) -> Iterator[float]:
    """Train all layers; losses, step by step."""
    device = classifier.encoder.device
    labels = torch.from_numpy(training.labels)  # (n,)
    weight = class_weight(training.labels, classes).to(device) if recipe.balanced else None  # (C,)
    optimiser = torch.optim.Adam(classifier.parameters(), recipe.learning_rate, recipe.betas)
    for _ in range(recipe.epochs):
        for some in torch.split(torch.randperm(len(labels)), recipe.batch):
            if len(some) == 1:  # batch norms cannot tell one tile's variance
                continue
            classifier.train()
            pixels = torch.from_numpy(training.read(training.numbers[some.numpy()]))  # (B, s, s, 3)
            pixels = pixels.to(device)  # (B, s, s, 3)
            logits = classifier(_mirrored(pixels) if recipe.flips else pixels)  # (B, C)
            loss = weighted_loss(logits, labels[some].to(device), weight)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            yield loss.item()


def _steps(training: Tiles, recipe: SupervisedRecipe) -> int:
    """Of an epoch; a last batch of one tile is left out."""
    whole, rest = divmod(len(training.numbers), recipe.batch)
    return whole + (rest > 1)


def _mirrored(tiles: Tensor) -> Tensor:
    """Each tile (B, s, s, 3) mirrored or not, in both directions by chance."""
    for axis in (1, 2):
        chosen = (torch.rand(len(tiles)) < 0.5).view(-1, 1, 1, 1).to(tiles.device)  # (B, 1, 1, 1)
        tiles = torch.where(chosen, tiles.flip(axis), tiles)  # (B, s, s, 3)
    return tiles


def _classes(training: Tiles, validation: Tiles) -> int:
    """How many classes there are; both parts must have each."""
    classes = int(training.y.max(initial=0)) + 1
    for what, part in (("training", training), ("validation", validation)):
        found = np.unique(part.labels).tolist()
        if classes < 2 or found != list(range(classes)):
            raise RequestInvalid(
                f"{what}: tiles of classes {found}",
                hint="Labels are 0, 1, ..., at least two, and each part of a split needs each.",
            )
    return classes
