"""Tables of one's own: which column is what, who is who, and which cells say nothing."""

from pathlib import Path

import pytest

from deepsmile_training.cohorts.cohort import NOT_STRATA, PROBABILITY, Cohort
from deepsmile_training.cohorts.generic import Columns, read_cohort
from deepsmile_training.cohorts.problems import CohortInvalid

from .tables import write_lines


def labels_of(cohort: Cohort, label: str) -> dict[str, str]:
    return {one.name: one.labels[label] for one in cohort.patients if label in one.labels}


def generic(tmp_path: Path, *rows: str, **columns: object) -> Cohort:
    path = write_lines(tmp_path / "own.csv", "patient,slide,site,stage,age", *rows)
    return read_cohort(path, Columns.model_validate({"labels": {"stage": ()}} | columns))


OWN = (
    "p1,a.svs,x,I,50",
    "p1,b.svs,x,I,50",
    "p2,c.svs,y,II,",
    "p3,f.svs,y,III,70",
    "p4,d.svs,y,?,60",
)


def test_a_table_of_one_s_own(tmp_path: Path):
    known = {"site": "site", "scores": ("age",), "strata": ("age",)}
    cohort = generic(tmp_path, *OWN, **known, missing_in={"stage": ["?"]})
    assert cohort.classes == {"stage": ("I", "II", "III")}
    assert cohort.by_name["p1"].slides == ("a.svs", "b.svs")
    assert [one.site for one in cohort.patients] == ["x", "y", "y", "y"]
    assert labels_of(cohort, "stage") == {"p1": "I", "p2": "II", "p3": "III"}
    assert [one.scores for one in cohort.patients] == [
        {"age": 50.0},
        {},
        {"age": 70.0},
        {"age": 60.0},
    ]
    assert cohort.by_name["p4"].strata == {"age": "60"}
    assert cohort.notes == {"cells of stage taken for missing": 1}


def test_patients_without_a_slide_are_left_out_of_a_table_of_slides(tmp_path: Path):
    """And so is a class that only they have; without a column of slides nobody can say."""
    rows = (*OWN, "p5,,x,IV,20", "p6,NA ,x,I,20", "p6,e.svs,x,I,20")
    cohort = generic(tmp_path, *rows, missing=["?"])
    assert list(cohort.by_name) == ["p1", "p2", "p3", "p4", "p6"]
    assert cohort.classes == {"stage": ("I", "II", "III")}
    missing = {"cells of stage taken for missing": 1}
    assert cohort.notes == {"patients left out: no slide": 1} | missing
    unknown = generic(tmp_path, *rows, slide=None, missing=["?"])
    assert len(unknown.patients) == 6
    assert unknown.classes == {"stage": ("I", "II", "III", "IV")}
    assert unknown.notes == missing


def test_the_order_of_the_classes_is_the_caller_s(tmp_path: Path):
    rows = ("p1,a,x,pos,1", "p2,b,x,neg,1")
    cohort = generic(tmp_path, *rows, labels={"stage": ("pos", "neg")})
    assert cohort.classes == {"stage": ("pos", "neg")}


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (("p1,a,x,I,1", "p1,b,x,II,1"), "patient p1 has I, II for stage"),
        (("p1,a,x,I,1", "p2,b,x,I,1"), "label stage has one class only: I"),
        (("p1,a,x,I,1", "p2,a,x,II,1"), "slides are listed twice: a"),
        (("p1,a,x,I,1", "p2,b,x,II,old"), "patient p2, age: 'old' is not a number"),
        (("p1,a,x,I,1", ",b,x,II,1"), "no patient in line 3"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, rows: tuple[str, ...], complaint: str):
    with pytest.raises(CohortInvalid, match=complaint):
        generic(tmp_path, *rows, scores=("age",))


def test_a_value_that_is_no_class_is_refused(tmp_path: Path):
    with pytest.raises(CohortInvalid, match=r"\? is none of I, II, III"):
        generic(tmp_path, *OWN, labels={"stage": ("I", "II", "III")})


CODED = ("9,9,9,I,9", "p2,b,y,9,2", "p3,c,9,II,-1", "p4,d,y,I,4")
ROLES = {"site": "site", "scores": ("age",)}


def test_a_cell_that_says_nothing_is_one_of_labels_and_strata_alone(tmp_path: Path):
    """A 9 may be a class that nobody knows, and is a patient, a slide, a site and an age too."""
    cohort = generic(tmp_path, *CODED, **ROLES, missing=["9"])
    assert cohort.by_name["9"].slides == ("9",)
    assert [one.site for one in cohort.patients] == ["9", "y", "9", "y"]
    assert [one.scores["age"] for one in cohort.patients] == [9.0, 2.0, -1.0, 4.0]
    assert labels_of(cohort, "stage") == {"9": "I", "p3": "II", "p4": "I"}
    assert cohort.notes == {"cells of stage taken for missing": 1}


def test_a_stratum_that_is_a_score_too_keeps_its_cells(tmp_path: Path):
    scored = generic(tmp_path, *CODED, **ROLES, strata=("age",), missing=["9"])
    assert [one.strata["age"] for one in scored.patients] == ["9", "2", "-1", "4"]
    grouped = generic(tmp_path, *CODED, strata=("age",), missing=["9"])
    assert [one.strata.get("age") for one in grouped.patients] == [None, "2", "-1", "4"]


def test_a_cell_of_a_named_column_says_nothing_there_alone(tmp_path: Path):
    said = {"age": ["-1", "?"], "site": ["9"], "stage": ["9"]}
    cohort = generic(tmp_path, *CODED, **ROLES, missing_in=said)
    assert [one.scores.get("age") for one in cohort.patients] == [9.0, 2.0, None, 4.0]
    assert [one.site for one in cohort.patients] == [None, "y", None, "y"]
    assert cohort.notes == {
        "cells of age taken for missing": 1,
        "cells of site taken for missing": 2,
        "cells of stage taken for missing": 1,
    }
    nowhere = generic(tmp_path, *CODED, **ROLES, missing_in={"age": ["-9"]}, missing=["9"])
    assert nowhere.notes["cells of age taken for missing"] == 0
    with pytest.raises(CohortInvalid, match="missing cells of ages: not one of patient, slide"):
        generic(tmp_path, *CODED, **ROLES, missing_in={"ages": ["-1"]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("00000", "0"),
        ("007", "7"),
        ("P-07", "p-7"),
        ("P 1", "P1"),
        ("Ä1", "a\u03081"),
        ("x1", "X1"),
    ],
)
def test_patients_who_may_be_one_are_refused_unless_they_are_said_to_differ(
    tmp_path: Path, one: str, other: str
):
    rows = (f"{one},a,x,I,1", f"{other},b,x,II,1", "q,c,x,I,1")
    with pytest.raises(CohortInvalid, match=f"may be one: '{one}' and '{other}'") as caught:
        generic(tmp_path, *rows)
    assert "--distinct" in caught.value.hint
    assert len(generic(tmp_path, *rows, distinct=True).patients) == 3


@pytest.mark.parametrize("role", ["label", "site", "strata"])
def test_groups_that_may_be_one_are_refused_unless_they_are_said_to_differ(
    tmp_path: Path, role: str
):
    """A class of typing errors; a site on both sides of a split; a subgroup cut in two."""
    path = tmp_path / "own.csv"
    columns = {
        "label": Columns(labels={"group": ()}),
        "site": Columns(labels={"status": ()}, site="group"),
        "strata": Columns(labels={"status": ()}, strata=("group",)),
    }[role]
    rows = ("p1,a,neg,North", "p2,b,pos,north ", "p3,c,pos,South")
    write_lines(path, "patient,slide,status,group", *rows)
    told = "values of group that may be one: 'North' and 'north'"
    with pytest.raises(CohortInvalid, match=told) as caught:
        read_cohort(path, columns)
    assert "--distinct" in caught.value.hint
    apart = columns.model_copy(update={"distinct": True})
    assert len(read_cohort(path, apart).patients) == len(rows)


def test_a_value_that_is_no_given_class_is_told_as_that(tmp_path: Path):
    rows = ("p1,a,x,neg,1", "p2,b,x,pos,1", "p3,c,x,Pos,1")
    with pytest.raises(CohortInvalid, match="Pos is none of neg, pos"):
        generic(tmp_path, *rows, labels={"stage": ("neg", "pos")})


def test_numbers_are_not_spelled(tmp_path: Path):
    rows = ("p1,a,x,I,50", "p2,b,x,II,050")
    cohort = generic(tmp_path, *rows, scores=("age",), strata=("age",))
    assert [one.scores["age"] for one in cohort.patients] == [50.0, 50.0]


def test_a_label_whose_cells_are_all_empty_is_told(tmp_path: Path):
    with pytest.raises(CohortInvalid, match="label stage: every cell is empty"):
        generic(tmp_path, "p1,a,x,,1", "p2,b,x,,1")


def test_a_table_of_nobody_is_told_and_why(tmp_path: Path):
    with pytest.raises(CohortInvalid, match=r"own: no patient is left$"):
        generic(tmp_path)
    with pytest.raises(CohortInvalid, match=r"no patient is left; .* no slide: 1$"):
        generic(tmp_path, "p1,,x,I,1")


def test_patients_who_differ_by_more_are_two(tmp_path: Path):
    names = ("10", "100", "1", "P-1", "P1", "P01-2", "P1-20", "a", "b")
    rows = [f"{name},s{k},x,{'I' * (1 + k % 2)},1" for k, name in enumerate(names)]
    assert len(generic(tmp_path, *rows).patients) == len(names)


def test_a_path_in_the_slide_column_is_the_slide_s_name(tmp_path: Path):
    """It names files of features: a path would lead out of their folder."""
    cohort = generic(tmp_path, "p1,/scans/x/a.svs,x,I,1", "p2,u\u0308.svs,x,II,1")
    assert list(cohort.patient_of_slide) == ["a.svs", "ü.svs"]
    with pytest.raises(CohortInvalid, match=r"slides are listed twice: a\.svs"):
        generic(tmp_path, "p1,x/a.svs,x,I,1", "p2,y/a.svs,x,II,1")


@pytest.mark.parametrize("name", [*NOT_STRATA, f"{PROBABILITY}53"])
def test_a_stratum_that_would_be_read_as_predictions_is_refused(tmp_path: Path, name: str):
    """When it is read, as evidence would, and not after a training."""
    path = tmp_path / "own.csv"
    write_lines(path, f"who,status,{name}", "p1,neg,a", "p2,pos,b")
    columns = Columns(patient="who", slide=None, labels={"status": ()}, strata=(name,))
    with pytest.raises(CohortInvalid, match=f"a stratum cannot be called {name}:") as caught:
        read_cohort(path, columns)
    assert f"group_{name}" in caught.value.hint
    renamed = write_lines(path, f"who,status,group_{name}", "p1,neg,a", "p2,pos,b")
    columns = columns.model_copy(update={"strata": (f"group_{name}",)})
    assert read_cohort(renamed, columns).by_name["p2"].strata == {f"group_{name}": "b"}
