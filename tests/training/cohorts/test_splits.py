"""Splits: whole patients, balanced, the same for the same plan; and never an overlap."""

from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepsmile_training.cohorts.cohort import make_cohort
from deepsmile_training.cohorts.counting import count_split
from deepsmile_training.cohorts.dealing import deal
from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid, PatientOverlap
from deepsmile_training.cohorts.rules import Thresholds
from deepsmile_training.cohorts.splits import PARTS, Fold, Split, check_split, load_split
from deepsmile_training.cohorts.splitting import SplitPlan, make_split

from .people import MSI, mixed_cohort, msi_cohort, person

pytestmark = pytest.mark.slow

FEW = settings(max_examples=25)
PLANS = st.builds(
    SplitPlan,
    kind=st.sampled_from(["nested", "fixed-test"]),
    folds=st.integers(2, 5),
    strata=st.sets(st.sampled_from(["MSI", "mHRD", "HRD", "sex"])).map(tuple),
    seed=st.integers(0, 99),
    subsets=st.booleans(),
)


@FEW
@given(st.integers(0, 99), st.integers(30, 60), PLANS)
def test_every_patient_is_in_one_part_of_each_fold(seed: int, patients: int, plan: SplitPlan):
    cohort = mixed_cohort(seed, patients)
    split = make_split(cohort, plan)
    assert len(split.folds) == plan.folds
    for fold in split.folds:
        everyone = Counter(chain.from_iterable(fold.part(part) for part in PARTS))
        assert everyone == Counter(list(cohort.by_name))
    tests = [name for fold in split.folds for name in fold.test]
    if plan.kind == "nested":
        assert Counter(tests) == Counter(list(cohort.by_name))
    else:
        held_out = Counter(name for fold in split.folds for name in fold.val)
        assert held_out == Counter(cohort.by_name.keys() - set(tests))


@FEW
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=80),
    st.lists(st.integers(1, 5), min_size=2, max_size=6),
    st.integers(0, 99),
)
def test_each_part_has_its_share_of_each_combination_within_one_patient(
    strata: list[tuple[int, int]], weights: list[int], seed: int
):
    shares = [weight / sum(weights) for weight in weights]
    part = deal(np.array(strata), shares, np.random.default_rng(seed))
    for combination, count in Counter(strata).items():
        for index, share in enumerate(shares):
            dealt = sum(
                its == index and one == combination for one, its in zip(strata, part, strict=True)
            )
            assert abs(dealt - share * count) < 1


@FEW
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=80))
def test_leading_strata_come_before_the_others(strata: list[tuple[int, int]]):
    """The label within one patient, however many combinations the other column makes of it."""
    part = deal(np.array(strata), [0.2] * 5, np.random.default_rng(0), leading=1)
    for label, count in Counter(label for label, _ in strata).items():
        dealt = Counter(its for (one, _), its in zip(strata, part, strict=True) if one == label)
        assert all(abs(dealt[index] - count / 5) < 1 for index in range(5))


@FEW
@given(st.integers(0, 999))
def test_rare_combinations_do_not_unbalance_each_label(seed: int):
    """Five binary labels, most combinations rarer than the folds: margins stay near as well."""
    rng = np.random.default_rng(seed)
    strata = (rng.random((150, 5)) < (0.5, 0.4, 0.3, 0.2, 0.1)).astype(np.int64)  # (P, L)
    part = deal(strata, [0.2] * 5, np.random.default_rng(seed))
    for label in strata.T:
        dealt = np.bincount(part, weights=label, minlength=5)  # (K,)
        assert abs(dealt - label.sum() / 5).max() <= 3
    assert abs(np.bincount(part, minlength=5) - 30).max() <= 2


@FEW
@given(st.integers(0, 99), PLANS)
def test_the_plan_and_the_patients_decide_not_the_rows(seed: int, plan: SplitPlan):
    cohort = mixed_cohort(seed, 40)
    rows = list(cohort.patients)
    np.random.default_rng(seed).shuffle(rows)
    again = make_cohort(cohort.name, rows, classes=cohort.classes, rules=cohort.rules)
    split = make_split(cohort, plan)
    assert make_split(again, plan) == split
    assert make_split(again, plan).digest == split.digest


def test_another_seed_is_another_split():
    cohort = msi_cohort()
    folds = [make_split(cohort, SplitPlan(seed=seed)).folds for seed in range(3)]
    assert len({folds[k][0].test for k in range(3)}) == 3


@FEW
@given(st.integers(0, 99), st.sampled_from(["nested", "fixed-test"]))
def test_whole_sites_are_tested_or_trained_on(seed: int, kind: str):
    cohort = mixed_cohort(seed, 120, sites=20)
    plan = SplitPlan(kind=kind, folds=3, strata=("MSI",), by_site=True)
    for fold in make_split(cohort, plan).folds:
        sites = [{cohort.by_name[name].site for name in fold.part(part)} for part in PARTS]
        assert not sites[0] & sites[1]
        assert not sites[0] & sites[2]
        assert not sites[1] & sites[2]


def test_sites_are_dealt_by_their_labels_too():
    """Twelve sites of ten, six of them all positive: each of three parts gets two of each."""
    sites = np.repeat(np.arange(12), 10)  # (P,)
    strata = (sites < 6).astype(np.int64)[:, None]  # (P, 1)
    part = deal(strata, [1 / 3] * 3, np.random.default_rng(0), groups=sites)
    assert [np.bincount(part[strata[:, 0] == k]).tolist() for k in (0, 1)] == [[20] * 3] * 2


def test_the_paper_s_shares_of_a_fixed_test():
    """Section 3.1.2: 25 % test; of the rest, 15 % of all validate and 60 % train."""
    split = make_split(msi_cohort(100, 20), SplitPlan(kind="fixed-test", labels=("MSI",)))
    for fold in split.folds:
        assert [len(fold.part(part)) for part in PARTS] == [60, 15, 25]
        labels = resolve_labels(msi_cohort(100, 20), fold, "MSI")
        assert [labels.count(part) for part in PARTS] == [(48, 12), (12, 3), (20, 5)]


def test_the_authors_shares_of_nested_folds():
    split = make_split(msi_cohort(100, 20), SplitPlan(labels=("MSI",)))
    assert [[len(fold.part(part)) for part in PARTS] for fold in split.folds] == [[60, 20, 20]] * 5


def test_subsets_are_nested_balanced_tenths_of_the_training_patients():
    cohort = msi_cohort(200, 60)
    for fold in make_split(cohort, SplitPlan(labels=("MSI",), subsets=True)).folds:
        assert list(fold.subsets) == [f"{tenth / 10}" for tenth in range(1, 11)]
        sets = [set(subset) for subset in fold.subsets.values()]
        assert all(small < large for small, large in pairwise(sets))
        assert sets[-1] == set(fold.train)
        positives = [sum(cohort.by_name[n].labels["MSI"] == "MSI-H" for n in one) for one in sets]
        assert [len(one) for one in sets] == [12 * tenth for tenth in range(1, 11)]
        assert all(abs(count - 3.6 * (k + 1)) <= 1 + k for k, count in enumerate(positives))
        assert positives[0] in (3, 4)


@pytest.mark.parametrize("kind", ["nested", "fixed-test"])
def test_it_comes_back_as_it_was_written(tmp_path: Path, kind: str):
    cohort = mixed_cohort(1, 80)
    split = make_split(cohort, SplitPlan(kind=kind, labels=("MSI", "mHRD", "tHRD"), subsets=True))
    assert set(split.folds[0].thresholds) == {"mHRD", "tHRD"}
    split.write(tmp_path / "split.json")
    assert load_split(tmp_path / "split.json", cohort) == split


def fold_of(train: str, val: str, test: str) -> dict[str, object]:
    return {"train": tuple(train), "val": tuple(val), "test": tuple(test)}


@pytest.mark.parametrize(
    "fold",
    [
        fold_of("ab", "c", "ad"),
        fold_of("ab", "b", "c"),
        fold_of("a", "bc", "c"),
        fold_of("aa", "b", "c"),
        fold_of("a", "b", "c") | {"subsets": {"0.5": ("c",)}},
    ],
)
def test_a_patient_in_two_parts_is_an_error_at_every_load(tmp_path: Path, fold: dict[str, object]):
    cohort = make_cohort("letters", [person(0, name=name, slides=()) for name in "abcd"])
    record = Split.model_construct(
        cohort=cohort.digest, kind="nested", made={}, folds=(Fold.model_construct(**fold),)
    )
    if "subsets" not in fold:
        record.folds[0].__dict__["subsets"] = {}
    record.folds[0].__dict__["thresholds"] = {}
    record.write(tmp_path / "split.json")
    with pytest.raises(PatientOverlap):
        load_split(tmp_path / "split.json", cohort)


def test_a_patient_who_is_tested_twice_is_an_overlap_too():
    folds = (Fold(**fold_of("ab", "c", "d")), Fold(**fold_of("a", "c", "bd")))
    with pytest.raises(PatientOverlap, match="d"):
        Split(cohort="", kind="nested", made={}, folds=folds)
    with pytest.raises(CohortInvalid, match="differs between folds"):
        Split(cohort="", kind="fixed-test", made={}, folds=folds)


def test_a_split_of_another_cohort_is_refused():
    cohort, fewer = msi_cohort(), msi_cohort(59)
    split = make_split(cohort, SplitPlan())
    with pytest.raises(CohortInvalid, match="that people lacks: P059"):
        check_split(split, fewer)
    with pytest.raises(CohortInvalid, match="another state of people"):
        check_split(split, msi_cohort(60, 13))


def test_thresholds_that_the_training_patients_do_not_give_are_refused():
    cohort = mixed_cohort(1, 80)
    split = make_split(cohort, SplitPlan(labels=("mHRD",)))
    cuts = Thresholds(lower=1, upper=1, strict=True, patients=9)
    folds = tuple(fold.model_copy(update={"thresholds": {"mHRD": cuts}}) for fold in split.folds)
    with pytest.raises(CohortInvalid, match="thresholds are not the training patients'"):
        check_split(split.model_copy(update={"folds": folds}), cohort)


def test_a_fold_without_positives_is_refused():
    with pytest.raises(CohortInvalid, match=r"label MSI: no \w+ patient is MSI-H") as caught:
        make_split(msi_cohort(60, 3), SplitPlan(labels=("MSI",)))
    assert "fewer folds" in caught.value.hint


def test_what_cannot_be_split_is_refused():
    cohort = msi_cohort()
    with pytest.raises(CohortInvalid, match="no label MS; there are MSI"):
        resolve_labels(cohort, make_split(cohort, SplitPlan()).folds[0], "MS")
    with pytest.raises(CohortInvalid, match="no label, score or stratum age"):
        make_split(cohort, SplitPlan(strata=("age",)))
    with pytest.raises(CohortInvalid, match="without a site: P000"):
        make_split(cohort, SplitPlan(by_site=True))
    with pytest.raises(CohortInvalid, match="a fold without val"):
        make_split(msi_cohort(2, 1), SplitPlan(folds=2))


def test_labels_of_three_classes_are_balanced_and_counted():
    stages = ("I", "II", "III")
    people = [person(index, labels={"stage": stages[index % 3]}) for index in range(60)]
    cohort = make_cohort("stages", people, classes={"stage": stages})
    split = make_split(cohort, SplitPlan(labels=("stage",)))
    assert list(count_split(cohort, split, "stage"))[:3] == [
        ("0", "train", "36", "36", "12 I, 12 II, 12 III", ""),
        ("0", "val", "12", "12", "4 I, 4 II, 4 III", ""),
        ("0", "test", "12", "12", "4 I, 4 II, 4 III", ""),
    ]
    assert resolve_labels(cohort, split.folds[0], "stage").of["P001"] == 1


def test_patients_without_the_label_are_spread_and_not_counted():
    people = [person(index, msi=(*MSI, None)[index % 3]) for index in range(60)]
    cohort = make_cohort("some", people, classes={"MSI": MSI})
    for fold in make_split(cohort, SplitPlan(labels=("MSI",))).folds:
        labels = resolve_labels(cohort, fold, "MSI")
        assert [len(fold.part(part)) for part in PARTS] == [36, 12, 12]
        assert [len(labels.patients(part)) for part in PARTS] == [24, 8, 8]
