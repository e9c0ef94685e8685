"""Heads: time of a fold of the paper's schedule, and of batches against bags one by one.

    python -m benchmarks.heads [--rounds 3] [--threads 2]

A fold: VarMIL, 594 bags of 500 tiles x 512 features, 16 epochs in batches of 16, evaluated every
5 steps on a quarter as many bags; goal 60 s on 2 cores. An epoch: VarMIL over 1,000 bags of
500 x 1,024, in batches of 16, against one bag per step; goal 5 x. `plain` is that loop as it is
usually written: standardised in each step, eq. 8 with all of its gradient, Adam without fusion.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepsmile_training.mil.bags import Bags
from deepsmile_training.mil.heads import VarMIL
from deepsmile_training.mil.pooling import attention_mean
from deepsmile_training.mil.recipe import PAPER, Recipe, VarMILSpec
from deepsmile_training.mil.training import Labelled, fit

BATCHED_GOAL = 5.0
FOLD_GOAL_S = 60.0


@dataclass(frozen=True)
class Size:
    """How much there is to train on."""

    bags: int
    tiles: int
    width: int


FOLD = Size(594, 500, 512)
EPOCH = Size(1000, 500, 1024)


def random_bags(size: Size, seed: int = 0) -> Labelled:
    """Noise: the right cost, no meaning."""
    torch.manual_seed(seed)
    features = torch.randn(size.bags * size.tiles, size.width)  # (bags tiles, H)
    offsets = torch.arange(size.bags + 1) * size.tiles  # (bags + 1,)
    names = tuple(f"{seed}-{i}" for i in range(size.bags))
    return Labelled(Bags(features, offsets, names), np.arange(size.bags) % 2)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def fold(size: Size, epochs: int = PAPER.epochs) -> float:
    """Seconds of a fold, with its evaluations."""
    training = random_bags(size)
    validation = random_bags(Size(max(2, size.bags // 4), size.tiles, size.width), seed=1)
    recipe = Recipe(epochs=epochs)
    return seconds(lambda: fit(VarMILSpec(), training, validation=validation, recipe=recipe))


def epoch(training: Labelled, batch: int) -> float:
    """Seconds of one epoch in batches of `batch`."""
    recipe = Recipe(epochs=1, batch=batch)
    return seconds(lambda: fit(VarMILSpec(), training, recipe=recipe))


def plain_epoch(training: Labelled) -> float:
    """Seconds of one epoch, one bag after the other."""
    bags = training.bags.features.split(training.bags.sizes.tolist())
    head = VarMIL(bags[0].shape[1])
    head.standardise_for(training.bags.features)
    adam = torch.optim.Adam(head.parameters(), PAPER.learning_rate, PAPER.betas)
    target = torch.from_numpy(training.y).unsqueeze(1)  # (n, 1)

    def work() -> None:
        for i in torch.randperm(len(bags)).tolist():
            loss = F.cross_entropy(plain_logits(head, bags[i].unsqueeze(0)), target[i])
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()

    return seconds(work)


def plain_logits(head: VarMIL, features: Tensor) -> Tensor:
    """Eqs 5 to 10 for one bag, (1, N, H) -> (1, 2)."""
    z = head.standardise(features)  # (1, N, H)
    a = head.attend(z, torch.ones_like(z[..., 0], dtype=torch.bool))  # (1, N)
    z_mean = attention_mean(z, a)  # (1, H)
    z_var = z.shape[1] / (z.shape[1] - 1) * attention_mean((z - z_mean.unsqueeze(1)) ** 2, a)
    logits: Tensor = head.classify(torch.cat([z_mean, z_var], dim=1))  # (1, 2)
    return logits


def epochs(size: Size, rounds: int) -> dict[str, list[float]]:
    """How many times as long as batches of 16 take, in each round."""
    training = random_bags(size)
    epoch(training, PAPER.batch)
    ratios: dict[str, list[float]] = {"one bag per step": [], "plain": []}
    for _ in range(rounds):
        batched = epoch(training, PAPER.batch)
        ratios["one bag per step"].append(epoch(training, 1) / batched)
        ratios["plain"].append(plain_epoch(training) / batched)
    return ratios


def verdict(reached: bool) -> str:
    return "reached" if reached else "NOT REACHED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    took = [fold(FOLD) for _ in range(arguments.rounds)]
    middle = statistics.median(took)
    print(
        f"a fold of the paper's schedule: {middle:.1f} s ({min(took):.1f} to {max(took):.1f}),"
        f" goal {FOLD_GOAL_S:g} s: {verdict(middle <= FOLD_GOAL_S)}"
    )
    for name, ratios in epochs(EPOCH, arguments.rounds).items():
        middle = statistics.median(ratios)
        print(
            f"an epoch, {name} / batches of {PAPER.batch}: {middle:.2f} ({min(ratios):.2f} to"
            f" {max(ratios):.2f}), goal {BATCHED_GOAL:g}: {verdict(middle >= BATCHED_GOAL)}"
        )


if __name__ == "__main__":
    main()
