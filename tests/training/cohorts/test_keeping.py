"""A kept test set: no correction and no new patient changes who was tested."""

from collections import Counter

import pytest

from deepsmile_training.cohorts.cohort import Cohort, make_cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import check_split
from deepsmile_training.cohorts.splitting import SplitPlan, make_split

from .people import MSI, msi_cohort, person

FIXED = SplitPlan(kind="fixed-test", folds=3, labels=("MSI",))


def test_a_corrected_label_leaves_a_kept_test_set_as_it_was():
    """Without keeping it one label deals the test patients anew."""
    cohort = msi_cohort(80, 30)
    former = make_split(cohort, FIXED)
    patients = [
        one.model_copy(update={"labels": {"MSI": "MSS"}}) if one.name == "P029" else one
        for one in cohort.patients
    ]
    corrected = make_cohort(cohort.name, patients, classes=cohort.classes)
    with pytest.raises(CohortInvalid, match="another state") as caught:
        check_split(former, corrected)
    assert "--keep" in caught.value.hint
    assert make_split(corrected, FIXED).folds[0].test != former.folds[0].test
    kept = make_split(corrected, FIXED, former)
    assert {fold.test for fold in kept.folds} == {former.folds[0].test}
    assert kept.made["kept"] == former.digest
    check_split(kept, corrected)
    assert make_split(cohort, FIXED, former).folds == former.folds


def test_only_new_patients_are_dealt_beside_a_kept_test_set():
    """A quarter of them are tested; of the others nobody changes sides, and who left is gone."""
    former = make_split(msi_cohort(80, 30), FIXED)
    more = msi_cohort(120, 30)
    grown = make_cohort("people", more.patients[1:], classes=more.classes)
    kept = make_split(grown, FIXED, former)
    (test,) = {fold.test for fold in kept.folds}
    new = {f"P{k:03d}" for k in range(80, 120)}
    assert set(test) - new == set(former.folds[0].test) - {"P000"}
    assert len(new & set(test)) == 10
    assert all(set(fold.development) == set(grown.by_name) - set(test) for fold in kept.folds)
    assert Counter(name for fold in kept.folds for name in fold.val) == Counter(
        grown.by_name.keys() - set(test)
    )


def test_new_patients_of_a_known_site_go_where_it_is_in_a_kept_split():
    plan = FIXED.model_copy(update={"labels": (), "by_site": True})

    def of(count: int, sites: int) -> Cohort:
        people = [person(k, msi=MSI[k % 3 == 0], site=f"s{k % sites}") for k in range(count)]
        return make_cohort("sites", people, classes={"MSI": MSI})

    former = make_split(of(60, 12), plan)
    tested = {of(60, 12).by_name[name].site for name in former.folds[0].test}
    grown = of(60, 12).patients + tuple(
        person(k, msi=MSI[k % 3 == 0], site=f"s{k % 16}") for k in range(60, 124)
    )
    cohort = make_cohort("sites", grown, classes={"MSI": MSI})
    kept = make_split(cohort, plan, former)
    sites = {cohort.by_name[name].site for name in kept.folds[0].test}
    assert tested < sites
    assert sites - tested < {"s12", "s13", "s14", "s15"}


def test_a_split_without_a_fixed_test_cannot_be_kept():
    cohort = msi_cohort()
    nested = make_split(cohort, SplitPlan())
    fixed = make_split(cohort, FIXED)
    for plan, former in ((FIXED, nested), (SplitPlan(), fixed), (SplitPlan(), nested)):
        with pytest.raises(CohortInvalid, match="cannot be kept") as caught:
            make_split(cohort, plan, former)
        assert "kind=fixed-test" in caught.value.hint
    published = FIXED.model_copy(update={"test_where": ("part", "test")})
    with pytest.raises(CohortInvalid, match="a test_where"):
        make_split(cohort, published, fixed)
