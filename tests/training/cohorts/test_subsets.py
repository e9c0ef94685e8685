"""Subsets: shares of a fold's training patients, for learning curves."""

import pytest

from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import Fold

from .people import msi_cohort


def test_a_subset_without_positives_is_refused_where_it_is_asked_for():
    cohort = msi_cohort(8, 4)
    subsets = {"0.5": ("P000", "P004"), "0.1": ("P004",)}
    fold = Fold(
        train=("P000", "P001", "P004", "P005"), val=("P002", "P006"), test=("P003", "P007"),
        subsets=subsets,
    )  # fmt: skip
    labels = resolve_labels(cohort, fold, "MSI")
    assert labels.subset("0.5") == ("P000", "P004")
    with pytest.raises(CohortInvalid, match=r"label MSI: no 0\.1 subset patient is MSI-H"):
        labels.subset("0.1")
    with pytest.raises(CohortInvalid, match=r"no subset 0\.2"):
        labels.subset("0.2")


def test_shares_that_can_be_trained_on_rise_and_are_not_everybody():
    cohort = msi_cohort(8, 4)
    train = ("P000", "P001", "P004", "P005")
    subsets = {"1.0": train, "0.75": train[:3], "0.25": ("P000",), "0.5": ("P000", "P004")}
    fold = Fold(train=train, val=("P002", "P006"), test=("P003", "P007"), subsets=subsets)
    labels = resolve_labels(cohort, fold, "MSI")
    assert labels.shares == ("0.5", "0.75")
    half = labels.trained_on("0.5")
    assert half.patients("train") == ("P000", "P004")
    assert [half.patients(part) for part in ("val", "test")] == [fold.val, fold.test]
    assert half.of == labels.of
