"""Training: a head on bags, keeping the weights that rank the validation patients best.

Algorithm 1 of the paper, lines 13 to 28. For a seed, a run repeats bit by bit on one machine
with one number of threads.
"""

import math
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deepsmile.errors import RequestInvalid
from deepsmile_training.metrics import Labels, auc
from deepsmile_training.mil.bags import Bags
from deepsmile_training.mil.heads import Head
from deepsmile_training.mil.recipe import PAPER, HeadSpec, Recipe

EVALUATION_BATCH = 16

Batches = list[tuple[Tensor, Tensor]]
"""Standardised features (b, N, H) and mask (b, N) of all bags in their order."""


@dataclass(frozen=True)
class Labelled:
    """Bags with what is known of them."""

    bags: Bags
    y: Labels
    """(n,) class of each bag, from 0"""


@dataclass(frozen=True)
class Evaluation:
    """How it stood after a step."""

    step: int
    loss: float
    """Mean of the training batches since the evaluation before."""
    validation_loss: float
    """Mean over all validation bags, each weighing what training bags of its class do, divided by
    the mean of these weights: a coin's is ln 2 whatever the share of positives."""
    auc: float
    """Of validation patients; of more than two classes, the mean of each against the rest."""


@dataclass(frozen=True)
class Fitted:
    """A trained head, and how it got there."""

    head: Head
    curve: tuple[Evaluation, ...] = ()
    best: Evaluation | None = None
    """The evaluation whose weights `head` has; None: the last step's, without validation."""


def fit(
    spec: HeadSpec,
    training: Labelled,
    *,
    validation: Labelled | None = None,
    recipe: Recipe = PAPER,
    seed: int = 0,
) -> Fitted:
    """Train a new head; of equally good evaluations the first one's weights are kept.

    Raises:
        RequestInvalid: labels of one class, a patient with two labels, or in both parts.
    """
    classes = _check_labels(training, validation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = spec.build(training.bags.features.shape[1], classes, he=recipe.he)
        if recipe.standardise:
            head.standardise_for(training.bags.features)
        run = _Run(head, training, recipe, classes)
        if validation is None:
            for _ in run.steps():
                pass
            return Fitted(head.eval())
        return _fit_with_validation(run, validation)


@torch.no_grad()
def predict(head: Head, bags: Bags) -> NDArray[np.float64]:
    """Probability of each class for each bag, (n, C)."""
    return _probabilities(_logits(head, _batches(head, bags)))


def of_patients(
    p: NDArray[np.float64], patients: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Mean of a patient's slides (RESOLUTIONS row 18): (n, C) -> sorted names, (patients, C)."""
    names, index = np.unique(np.array(patients), return_inverse=True)  # (k,), (n,)
    sums = np.zeros((len(names), p.shape[1]))  # (k, C)
    np.add.at(sums, index, p)
    return tuple(names.tolist()), sums / np.bincount(index)[:, None]  # (k,), (k, C)


def patient_auc(p: NDArray[np.float64], y: Labels, patients: tuple[str, ...]) -> float:
    """AUC of patients from their slides: (n, C), (n,), (n,); see `Evaluation.auc`."""
    names, means = of_patients(p, patients)  # (k,), (k, C)
    of_name = dict(zip(patients, y.tolist(), strict=True))
    truth = np.array([of_name[name] for name in names])  # (k,)
    positives = [1] if p.shape[1] == 2 else range(p.shape[1])
    return float(np.mean([auc(means[:, c], (truth == c).astype(np.int64)) for c in positives]))


def class_weight(y: Labels, classes: int) -> Tensor:
    """Weights that balance the classes of y (n,), (C,): n / (C n_class)."""
    counts = np.maximum(np.bincount(y, minlength=classes), 1)  # (C,)
    return torch.from_numpy(len(y) / (classes * counts)).float()


def weighted_loss(logits: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """Mean cross-entropy of logits (b, C) and classes (b,), each times its class's weight (C,).

    Not torch's weighted mean: that divides by the weights of the batch, so that in a batch of one
    class they would cancel. These average 1 over all of the training (`class_weight`).
    """
    losses = F.cross_entropy(logits, y, reduction="none")  # (b,)
    return losses.mean() if weight is None else (weight[y] * losses).mean()


@dataclass
class _Run:
    """A head on its way."""

    head: Head
    training: Labelled
    recipe: Recipe
    classes: int
    losses: list[float] = field(default_factory=list)
    """Of the steps since somebody took them."""

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.training.bags) / self.recipe.batch)

    @property
    def total(self) -> int:
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def weight(self) -> Tensor | None:
        """Of each class in the loss, n / (C n_class), (C,)."""
        return class_weight(self.training.y, self.classes) if self.recipe.balanced else None

    def steps(self) -> Iterator[int]:
        """Train; yields the number of each step when it is done."""
        bags, head, weight = _standardised(self.head, self.training.bags), self.head, self.weight
        optimiser = _optimiser(head, self.recipe)
        target = torch.from_numpy(self.training.y)  # (n,)
        step = 0
        for _ in range(self.recipe.epochs):
            for some in torch.split(torch.randperm(len(bags)), self.recipe.batch):
                if not head.training:
                    head.train()
                logits, _ = head.judge(*bags.batch(some))  # (b, C)
                loss = weighted_loss(logits, target[some], weight)
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
                self.losses.append(loss.item())
                step += 1
                yield step


def _fit_with_validation(run: _Run, validation: Labelled) -> Fitted:
    with torch.no_grad():
        batches = list(_batches(run.head, validation.bags))
    every = run.recipe.evaluate_every
    every = max(1, round(every if every >= 1 else every * run.steps_per_epoch))
    curve: list[Evaluation] = []
    best, weights = None, run.head.state_dict()
    for step in run.steps():
        if step % every and step < run.total:
            continue
        now = _evaluate(run, step, batches, validation)
        curve.append(now)
        if best is None or now.auc > best.auc:
            best, weights = now, deepcopy(run.head.state_dict())
    run.head.load_state_dict(weights)
    return Fitted(run.head.eval(), tuple(curve), best)


@torch.no_grad()
def _evaluate(run: _Run, step: int, batches: Batches, validation: Labelled) -> Evaluation:
    logits = _logits(run.head, batches)  # (n, C)
    loss = F.cross_entropy(logits, torch.from_numpy(validation.y), run.weight)
    value = patient_auc(_probabilities(logits), validation.y, validation.bags.patients)
    trained, run.losses = float(np.mean(run.losses)), []
    return Evaluation(step, trained, loss.item(), value)


def _logits(head: Head, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """(n, C)"""
    head.eval()
    return torch.cat([head.judge(features, mask)[0] for features, mask in batches])


def _probabilities(logits: Tensor) -> NDArray[np.float64]:
    p: NDArray[np.float64] = logits.double().softmax(dim=1).numpy()  # (n, C)
    return p


def _standardised(head: Head, bags: Bags) -> Bags:
    """Once for the whole run, instead of once per batch."""
    return replace(bags, features=head.standardise(bags.features))


def _batches(head: Head, bags: Bags) -> Iterator[tuple[Tensor, Tensor]]:
    for some in torch.split(torch.arange(len(bags)), EVALUATION_BATCH):
        features, mask = bags.batch(some)  # (b, N, H), (b, N)
        yield head.standardise(features), mask


def _optimiser(head: Head, recipe: Recipe) -> torch.optim.Optimizer:
    parameters, rate, decay = head.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "sgd":
        momentum = recipe.betas[0]
        return torch.optim.SGD(parameters, rate, momentum, weight_decay=decay, fused=True)
    return torch.optim.Adam(parameters, rate, recipe.betas, weight_decay=decay, fused=True)


def _check_labels(training: Labelled, validation: Labelled | None) -> int:
    """The number of classes."""
    classes = int(training.y.max(initial=0)) + 1
    for what, part in (("training", training), ("validation", validation)):
        if part is None:
            continue
        if len(part.y) != len(part.bags):
            raise RequestInvalid(f"{what}: {len(part.y)} labels for {len(part.bags)} bags")
        if classes < 2 or np.unique(part.y).tolist() != list(range(classes)):
            raise RequestInvalid(
                f"{what}: labels {np.unique(part.y).tolist()}",
                hint="Labels are 0, 1, ..., at least two, and each part of a split needs each.",
            )
        _check_patients(part, what)
    if validation is not None and (
        both := set(training.bags.patients) & set(validation.bags.patients)
    ):
        raise RequestInvalid(
            f"patient {min(both)} is in training and in validation",
            hint="Split by patient: another slide of the same one gives the answer away.",
        )
    return classes


def _check_patients(part: Labelled, what: str) -> None:
    of_patient: dict[str, int] = {}
    for patient, label in zip(part.bags.patients, part.y.tolist(), strict=True):
        if of_patient.setdefault(patient, label) != label:
            raise RequestInvalid(
                f"{what}: patient {patient} has two labels",
                hint="A label belongs to a patient: give all of a patient's slides the same.",
            )
