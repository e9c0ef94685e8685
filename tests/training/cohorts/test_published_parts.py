"""Published test patients stay the test, and sites stay whole where that was asked for."""

from pathlib import Path

import pytest

from deepsmile_training.cohorts.cohort import Cohort, make_cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import load_split
from deepsmile_training.cohorts.splitting import SplitPlan, make_split

from .people import MSI, msi_cohort, person


def with_part(cohort: Cohort, tested: int) -> Cohort:
    people = [
        one.model_copy(update={"strata": {"half": "test" if index % 3 == tested else "train"}})
        for index, one in enumerate(cohort.patients)
    ]
    return make_cohort("parts", people, classes=cohort.classes)


def test_published_test_patients_stay_the_test():
    cohort = with_part(msi_cohort(), 1)
    plan = SplitPlan(kind="fixed-test", test_where=("half", "test"), labels=("MSI",))
    expected = tuple(f"P{index:03d}" for index in range(1, 60, 3))
    assert {fold.test for fold in make_split(cohort, plan).folds} == {expected}
    with pytest.raises(CohortInvalid, match="no patient of parts has half = tested"):
        make_split(cohort, plan.model_copy(update={"test_where": ("half", "tested")}))
    with pytest.raises(CohortInvalid, match="fixed-test"):
        SplitPlan(test_where=("half", "test"))


def of_sites(sites: str, tested: str) -> Cohort:
    """A patient per letter of `sites`, tested where `tested` has a T; pos and neg by turns."""
    people = [
        person(index, msi=MSI[index // 2 % 2], site=site, strata={"half": part})
        for index, (site, part) in enumerate(zip(sites, tested, strict=True))
    ]
    return make_cohort("sites", people, classes={"MSI": MSI})


BY_SITE = SplitPlan(kind="fixed-test", folds=2, test_where=("half", "T"), by_site=True)


def test_published_test_patients_of_sites_of_their_own_keep_sites_whole(tmp_path: Path):
    cohort = of_sites("aabbccddee", "TTTT......")
    split = make_split(cohort, BY_SITE)
    for fold in split.folds:
        assert [cohort.by_name[name].site for name in fold.test] == list("aabb")
        assert not {cohort.by_name[name].site for name in fold.train} & set("ab")
    split.write(tmp_path / "split.json")
    assert load_split(tmp_path / "split.json", cohort) == split


def test_published_test_patients_who_share_sites_are_refused_by_site(tmp_path: Path):
    """At the making, and at every load of a split that says by_site and does not keep to it."""
    cohort = of_sites("abbbccddee", "TTTT......")
    split = make_split(cohort, BY_SITE)
    cut = of_sites("abbbccadde", "TTTT......")
    with pytest.raises(CohortInvalid, match="by_site: sites in two parts of a fold: a") as caught:
        make_split(cut, BY_SITE)
    assert "leave out by_site" in caught.value.hint
    free = make_split(cut, BY_SITE.model_copy(update={"by_site": False}))
    said = free.model_copy(update={"made": split.made})
    for one in (free, said):
        one.write(tmp_path / f"{one.made['by_site']}.json")
    assert load_split(tmp_path / "False.json", cut) == free
    with pytest.raises(CohortInvalid, match="by_site: sites in two parts"):
        load_split(tmp_path / "True.json", cut)


def test_a_tested_patient_without_a_site_is_refused_by_site():
    cohort = of_sites("abbbccddee", "TTTT......")
    first, *others = cohort.patients
    people = [first.model_copy(update={"site": None}), *others]
    with pytest.raises(CohortInvalid, match="without a site: P000"):
        make_split(make_cohort("sites", people, classes=cohort.classes), BY_SITE)
