"""The cohort: balanced, split once, and never mixed up."""

from collections import Counter
from itertools import combinations

import numpy as np

from deepsmile_training.demo.cohort import (
    COHORT,
    LABELS,
    PRETEXT,
    SHOWN,
    draw_cohort,
    labels_of,
    recipe_digest,
    slide_seed,
    split_cohort,
)
from deepsmile_training.demo.shown import shown_specs


def test_the_four_combinations_of_labels_are_equally_frequent() -> None:
    """So the labels are independent of each other."""
    specs = draw_cohort(1, 240)
    assert set(Counter((s.heterogeneous, s.cellular) for s in specs).values()) == {60}


def test_the_split_is_disjoint_complete_and_stratified() -> None:
    """Section 3.1.2: a quarter is held out for the test, five folds of the rest."""
    specs = draw_cohort(1, 240)
    split = split_cohort(specs, 1)
    parts = [split.test, *split.folds]
    assert [len(part) for part in parts] == [60, 36, 36, 36, 36, 36]
    assert all(not set(a) & set(b) for a, b in combinations(parts, 2))
    for part in parts:
        for label in LABELS:
            assert abs(labels_of(label, specs)[part].mean() - 0.5) < 0.03


def test_training_leaves_the_named_folds_and_the_test_out() -> None:
    split = split_cohort(draw_cohort(1, 40), 1)
    chosen = set(split.training(0, 3).tolist())
    assert chosen == {i for k in (1, 2, 4) for i in split.folds[k].tolist()}
    assert not chosen & set(split.test.tolist())


def test_seeds_of_cohort_encoder_and_shown_slides_never_meet() -> None:
    streams = [{slide_seed(2026, stream, i) for i in range(500)} for stream in (0, 1, 2)]
    assert (COHORT, PRETEXT, SHOWN) == (0, 1, 2)
    assert all(len(seeds) == 500 for seeds in streams)
    assert not any(a & b for a, b in combinations(streams, 2))
    shown = {spec.seed for spec in shown_specs(2026).values()}
    assert not shown & {spec.seed for spec in draw_cohort(2026, 500)}


def test_the_cohort_is_seeded() -> None:
    assert draw_cohort(1, 12) == draw_cohort(1, 12)
    assert recipe_digest(draw_cohort(1, 12)) == recipe_digest(draw_cohort(1, 12))
    assert recipe_digest(draw_cohort(1, 12)) != recipe_digest(draw_cohort(2, 12))


def test_labels_are_zero_and_one() -> None:
    specs = draw_cohort(1, 8)
    for label in LABELS:
        expected = [int(label.of(spec)) for spec in specs]
        np.testing.assert_array_equal(labels_of(label, specs), expected)
