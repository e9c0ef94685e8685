"""mHRD and tHRD (eqs. 1 and 2): thresholds of the training patients, and of no one else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.rules import DevelopmentScores, ThresholdRule
from deepsmile_training.cohorts.splits import Fold, development_scores
from deepsmile_training.cohorts.tcga_bc import MHRD, THRD

from .people import scored_cohort

FEW = settings(max_examples=50)
SCORES = st.lists(st.integers(0, 100).map(float), min_size=3, max_size=60)


def slow_quantile(values: list[float], share: float) -> float:
    """The value at position share * (n - 1) of the sorted ones, linear in between."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@FEW
@given(SCORES)
def test_the_median_cuts_strictly_above(values: list[float]):
    """Eq. 1: 1 if HRD > q(0.5), else 0; no patient is discarded."""
    cuts = MHRD.fit(DevelopmentScores("HRD", tuple(values)))
    median = slow_quantile(values, 0.5)
    assert cuts.lower == cuts.upper == pytest.approx(median)
    assert [cuts.class_of(v) for v in values] == [int(v > cuts.upper) for v in values]


@FEW
@given(SCORES)
def test_tertiles_keep_the_outer_two(values: list[float]):
    """Eq. 2 with its two numbers swapped back: upper tertile 1, lower 0, the middle discarded."""
    lower, upper = slow_quantile(values, 0.33), slow_quantile(values, 0.66)
    scores = DevelopmentScores("HRD", tuple(values))
    if lower == upper:
        with pytest.raises(CohortInvalid, match="are both"):
            THRD.fit(scores)
        return
    cuts = THRD.fit(scores)
    assert (cuts.lower, cuts.upper) == (pytest.approx(lower), pytest.approx(upper))
    for value in values:
        expected = 1 if value >= cuts.upper else 0 if value <= cuts.lower else None
        assert cuts.class_of(value) == expected


FOLD = Fold(
    train=tuple(f"P{i:03d}" for i in range(12)),
    val=tuple(f"P{i:03d}" for i in range(12, 18)),
    test=tuple(f"P{i:03d}" for i in range(18, 24)),
)


@FEW
@given(st.lists(st.integers(0, 1000).map(float), min_size=6, max_size=6))
def test_no_score_of_a_test_patient_moves_a_threshold(tested: list[float]):
    known = [float(7 * i % 18) for i in range(18)]
    cohort = scored_cohort(known + tested)
    for rule in (MHRD, THRD):
        expected = rule.fit(DevelopmentScores("HRD", tuple(known)))
        assert rule.fit(development_scores(cohort, FOLD, "HRD")) == expected
        assert expected.patients == 18


def test_a_score_of_a_training_patient_does_move_them():
    """So the test above can fail."""
    known = [float(i) for i in range(24)]
    moved = [known[0], 500.0, *known[2:]]
    cuts = [
        MHRD.fit(development_scores(scored_cohort(scores), FOLD, "HRD"))
        for scores in (known, moved)
    ]
    assert [one.upper for one in cuts] == [8.5, 9.5]


def test_labels_by_rule_leave_out_the_middle_and_the_unknown():
    cohort = scored_cohort([float(i % 6) for i in range(24)])
    labels = resolve_labels(cohort, FOLD, "tHRD")
    assert labels.thresholds is not None
    assert labels.thresholds.lower == pytest.approx(1.61)
    assert labels.thresholds.upper == pytest.approx(3.22)
    assert labels.of == {f"P{i:03d}": int(i % 6 >= 4) for i in range(24) if i % 6 not in (2, 3)}
    assert (labels.count("train"), labels.count("val"), labels.count("test")) == (
        (4, 4),
        (2, 2),
        (2, 2),
    )
    assert labels.patients("test") == ("P018", "P019", "P022", "P023")


def test_a_rule_that_would_leave_ties_undecided_is_refused():
    with pytest.raises(ValidationError, match="below the upper"):
        ThresholdRule(column="x", classes=("a", "b"), lower=0.5, upper=0.5)
    with pytest.raises(ValidationError, match="below the upper"):
        ThresholdRule(column="x", classes=("a", "b"), lower=0.7, upper=0.5, strict=True)


def test_without_scores_there_are_no_thresholds():
    with pytest.raises(CohortInvalid, match="no training patient has a score HRD"):
        MHRD.fit(DevelopmentScores("HRD", ()))
    with pytest.raises(CohortInvalid, match="no training patient has a score HRD"):
        MHRD.fit(DevelopmentScores("age", (1.0,)))


def test_a_median_that_everyone_has_is_one_class_and_refused():
    with pytest.raises(CohortInvalid, match=r"label mHRD: no train patient is HRD-high"):
        resolve_labels(scored_cohort([5.0] * 24), FOLD, "mHRD")
