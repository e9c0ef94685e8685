"""A small seed of the heads' benchmarks: they run, and a claim that is lost by far is noticed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import heads, mil_sets

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_fold_takes_its_share_of_a_minute() -> None:
    """A tenth of the bags, a quarter of the epochs: 1.5 s of the 60; far more under load."""
    assert heads.fold(heads.Size(60, 500, 512), epochs=4) < 30


def test_batches_are_no_slower_than_bags_one_by_one() -> None:
    ratios = heads.epochs(heads.Size(64, 100, 256), rounds=3)
    assert min(np.median(values) for values in ratios.values()) > 1


def test_public_bags_are_read_and_cross_validated(tmp_path: Path) -> None:
    """Two instances in the positive bags are far off; the rows of a bag need not be together."""
    rng = np.random.default_rng(0)
    rows = []
    for bag in range(20):
        instances = rng.normal(size=(6, 4))
        instances[:2] += 6 * (bag % 2)
        rows += [[bag % 2, bag + 1, *instance] for instance in instances]
    path = tmp_path / "set.csv"
    np.savetxt(path, rng.permutation(rows), delimiter=",", fmt="%g")
    data = mil_sets.load(path)
    assert data.bags.sizes.tolist() == [6] * 20
    assert sorted(zip(map(float, data.bags.patients), data.y.tolist(), strict=True)) == [
        (bag + 1, bag % 2) for bag in range(20)
    ]
    recipe = mil_sets.recipe_of(mil_sets.SETS["musk1"], epochs=20)
    recipe = recipe.model_copy(update={"learning_rate": 5e-3})
    (one,) = mil_sets.repeats_of(data, recipe, repeats=1, folds=2)
    assert one.auc > 0.9
    assert one.accuracy > 0.7
