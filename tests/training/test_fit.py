"""Fitting: it learns, it is seeded, and it never looks at what it is judged on."""

import numpy as np
import pytest
import torch

from deepsmile_training.demo.cohort import Split
from deepsmile_training.demo.fit import Recipe, fit_ensemble, fit_member, fits_needed
from deepsmile_training.metrics import auc
from deepsmile_training.mil.bags import pad_bags

pytestmark = pytest.mark.slow

WIDTH = 6
QUICK = Recipe(epochs=3)


def bags_of(y: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Bags with the same mean; positives vary more between tiles in feature 0."""
    rng = np.random.default_rng(seed)
    bags = []
    for label in y:
        bag = rng.normal(5, 1, (int(rng.integers(10, 40)), WIDTH))
        bag[:, 0] = rng.choice([4, 6], len(bag)) if label else 5
        bags.append((bag + rng.normal(0, 0.3, bag.shape)).astype(np.float32))
    return bags


@pytest.fixture(scope="module")
def cohort() -> tuple[list[np.ndarray], np.ndarray, Split]:
    y = np.arange(100) % 2
    indices = np.arange(100)
    split = Split(indices[:25], tuple(indices[25 + k :: 5] for k in range(5)))
    return bags_of(y), y, split


@pytest.mark.slow
def test_variance_between_tiles_is_learnt(cohort) -> None:
    """Section 4.2.3: what the mean cannot tell, the variance does."""
    bags, y, split = cohort
    fit = fit_ensemble(bags, y, split, 0, recipe=Recipe(learning_rate=5e-3))
    assert auc(fit.out_of_fold, y[fit.slides]) > 0.95


def test_fifteen_members_are_fitted_five_are_served(cohort) -> None:
    """Five folds, and every pair of folds left out together."""
    bags, y, split = cohort
    told: list[int] = []
    fit = fit_ensemble(bags, y, split, 0, recipe=QUICK, advance=lambda: told.append(1))
    assert len(told) == fits_needed(5) == 15
    assert len(fit.ensemble.members) == 5
    assert fit.slides.tolist() == list(range(25, 100))


def test_the_test_slides_are_not_looked_at(cohort) -> None:
    """Neither their features nor their labels change a bit of the fit."""
    bags, y, split = cohort
    one = fit_ensemble(bags, y, split, 0, recipe=QUICK)
    spoiled = [np.full_like(bag, np.nan) if i in split.test else bag for i, bag in enumerate(bags)]
    flipped = np.where(np.isin(np.arange(100), split.test), 1 - y, y)
    other = fit_ensemble(spoiled, flipped, split, 0, recipe=QUICK)
    np.testing.assert_array_equal(one.out_of_fold, other.out_of_fold)
    for a, b in zip(one.ensemble.parameters(), other.ensemble.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_slide_has_no_say_in_its_own_out_of_fold_probability(cohort) -> None:
    """Flip a label: its own fold's probabilities stay as they are, the others' do not."""
    bags, y, split = cohort
    one = fit_ensemble(bags, y, split, 0, recipe=QUICK)
    flipped = y.copy()
    flipped[split.folds[2][0]] = 1 - flipped[split.folds[2][0]]
    other = fit_ensemble(bags, flipped, split, 0, recipe=QUICK)
    own = np.isin(one.slides, split.folds[2])
    np.testing.assert_array_equal(one.out_of_fold[own], other.out_of_fold[own])
    assert not np.array_equal(one.out_of_fold[~own], other.out_of_fold[~own])


def test_features_are_standardised_by_the_training_tiles() -> None:
    y = np.array([0, 1] * 8)
    bags = [torch.from_numpy(bag) for bag in bags_of(y)]
    member = fit_member(bags, y, QUICK, 0)
    torch.testing.assert_close(member.mean, torch.cat(bags).mean(dim=0))


def test_rare_positives_are_weighted_up() -> None:
    """Section 4.2: the weight balances the classes, so logits do not sink to the prevalence."""
    y = (np.arange(60) % 10 == 0).astype(np.int64)
    bags = [torch.from_numpy(bag) for bag in bags_of(np.zeros(60), seed=3)]
    margins = []
    for balanced in (True, False):
        member = fit_member(bags, y, Recipe(epochs=40, balanced=balanced), 0)
        with torch.no_grad():
            logits, _ = member(*pad_bags(bags))
        margins.append(float((logits[:, 1] - logits[:, 0]).mean()))
    assert margins[0] > margins[1] + 0.5


def test_the_paper_s_recipe_is_the_default() -> None:
    """Section 4.2.2."""
    recipe = Recipe()
    assert (recipe.learning_rate, recipe.betas, recipe.weight_decay) == (5e-4, (0.9, 0.99), 1e-4)
    assert (recipe.batch, recipe.epochs, recipe.balanced) == (16, 16, True)
