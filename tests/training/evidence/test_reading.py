"""Reading: patients and slides, and everything that a table can have wrong."""

from pathlib import Path

import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.predictions import (
    Predictions,
    TestPredictions,
    ValidationPredictions,
)
from deepsmile_training.evidence.reading import read_predictions


def csv(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def test_a_table_of_patients(tmp_path: Path) -> None:
    path = csv(tmp_path, "patient,y,p,sex\n007,1,0.75,f\n8,0,0.5,\n")
    table = read_predictions(path, ValidationPredictions)
    assert isinstance(table, ValidationPredictions)
    assert table.patients == ("007", "8")
    assert table.y.tolist() == [1, 0]
    assert table.p.tolist() == [0.75, 0.5]
    assert table.subgroups == {"sex": ("f", "")}
    assert table.slides == ()


def test_logits_become_probabilities(tmp_path: Path) -> None:
    table = read_predictions(csv(tmp_path, "patient,y,logit\na,1,0\nb,0,-800\n"), TestPredictions)
    assert table.p.tolist() == [0.5, 0.0]


TWO = "patient,y,p,p_stage\na,1,0.5,T1\nb,0,0.5,T2\n"
SEVERAL = "patient,y,p_low,p_mid,p_high,sex\na,0,0.5,0.25,0.25,f\nb,2,0.125,0.125,0.75,m\n"


def test_one_of_several_classes_is_told_from_the_rest(tmp_path: Path) -> None:
    table = read_predictions(csv(tmp_path, SEVERAL), TestPredictions, "high")
    assert table.y.tolist() == [0, 1]
    assert table.p.tolist() == [0.25, 0.75]
    assert set(table.subgroups) == {"sex"}
    low = read_predictions(csv(tmp_path, SEVERAL), TestPredictions, "low")
    assert (low.y.tolist(), low.p.tolist()) == ([1, 0], [0.5, 0.125])


@pytest.mark.parametrize("spell", ["{}.0", " {}", "{}e0", "0{}"])
def test_a_class_is_a_number_however_it_is_spelt(spell: str, tmp_path: Path) -> None:
    """Tables that once had a gap have their classes as 0.0, 1.0, 2.0."""
    header, *rows = SEVERAL.splitlines()
    cells = [row.split(",") for row in rows]
    spelt = [",".join([a, spell.format(y), *rest]) for a, y, *rest in cells]
    for of in ("low", "high"):
        plain = read_predictions(csv(tmp_path, SEVERAL), TestPredictions, of)
        found = read_predictions(csv(tmp_path, "\n".join([header, *spelt])), TestPredictions, of)
        assert found.y.tolist() == plain.y.tolist()


@pytest.mark.parametrize(
    ("text", "of", "complaint"),
    [
        (SEVERAL, None, "has columns p_low, p_mid, p_high, and class None"),
        (SEVERAL, "lowest", "and class lowest is asked for"),
        (SEVERAL.replace("b,2", "b,3"), "high", r"'3', none of 0 \(low\), 1 \(mid\), 2 \(high\)"),
        (SEVERAL.replace("b,2", "b,1.5"), "high", "row 2: y is '1.5'"),
        (SEVERAL.replace("b,2", "b,"), "high", "row 2: y is ''"),
        (SEVERAL.replace("b,2", "b,high"), "high", "row 2: y is 'high'"),
        ("patient,y,p\na,1,0.5\n", "high", "has two classes only, and class high"),
    ],
)
def test_a_class_that_is_not_there_is_refused(
    text: str, of: str | None, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestInvalid, match=complaint):
        read_predictions(csv(tmp_path, text), TestPredictions, of)


def test_a_subgroup_of_two_classes_may_begin_like_a_class(tmp_path: Path) -> None:
    table = read_predictions(csv(tmp_path, TWO), TestPredictions)
    assert table.subgroups == {"p_stage": ("T1", "T2")}


def test_slides_of_a_patient_are_averaged(tmp_path: Path) -> None:
    """Paper, section 4.1.3: the score of a patient is the mean over its slides."""
    text = "patient,slide,y,p,sex\na,1,1,0.25,f\nb,1,0,0.5,m\na,2,1,0.75,f\n"
    table = read_predictions(csv(tmp_path, text), TestPredictions)
    assert table.patients == ("a", "b")
    assert table.p.tolist() == [0.5, 0.5]
    assert table.slides == (2, 1)
    assert set(table.subgroups) == {"sex"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot be read as a CSV"),
        ("patient,y,p\n", "has no rows"),
        ("patient,y,p\na,1,0.5,\nb,0,0.1,\n", "row 1 below the header has more cells"),
        ("slide,patient,y,p\ns,a,1,0.5,f\nt,b,0,0.1\n", "row 1 below the header has more cells"),
        ("patient,y,p\na,1,0.5\nb,0,0.1,\n", "line 3"),
        ("patient,p\na,0.5\n", "has no column 'y'"),
        ("y,p\n1,0.5\n", "has no column 'patient'"),
        ("patient,y\na,1\n", "one of the columns 'p' and 'logit'"),
        ("patient,y,p,logit\na,1,0.5,0\n", "one of the columns 'p' and 'logit'"),
        ("patient,y,p\na,1,0.5\nb,0,nan\n", "row 2: p is 'nan'"),
        ("patient,y,p\na,1,0.5\nb,0,\n", "row 2: p is ''"),
        ("patient,y,p\na,1,1.5\nb,0,0.1\n", "row 1: p is '1.5'"),
        ("patient,y,logit\na,1,inf\nb,0,0.1\n", "row 1: logit is 'inf'"),
        ("patient,y,p\na,1,0.5\nb,MSI,0.1\n", "row 2: y is 'MSI'"),
        ("patient,y,p\na,1,0.5\nb,0.5,0.1\n", "row 2: y is '0.5'"),
        ("patient,y,p\na,1,0.5\n,0,0.1\n", "row 2 names no patient"),
        ("patient,y,p\na,1,0.5\nb,1,0.1\n", "one class only: 2 of 2"),
        ("patient,slide,y,p\nb,1,0,0.1\na,1,1,0.5\na,2,0,0.1\n", "row 2 disagree on y"),
        ("patient,slide,y,p,sex\nb,,0,0.1,f\na,1,1,0.5,f\na,2,1,0.1,m\n", "row 2 disagree on sex"),
        ("patient,y,p\nb,0,0.1\na,1,0.5\na,1,0.5\n", "row 3 repeats a patient, and no column"),
        ("patient,slide,y,p\nb,1,0,0.1\na,1,1,0.5\nb,1,0,0.2\n", "row 3 repeats a slide of its"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        read_predictions(csv(tmp_path, text), TestPredictions)
    assert complaint in caught.value.detail
    assert caught.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match=r"absent\.csv: cannot be read"):
        read_predictions(tmp_path / "absent.csv", TestPredictions)


@pytest.mark.parametrize(
    ("kind", "part", "other"),
    [
        (ValidationPredictions, "validation", "test"),
        (TestPredictions, "test", "validation"),
        (TestPredictions, "test", "train"),
    ],
)
def test_a_table_is_read_as_the_part_that_it_is(
    tmp_path: Path, kind: type[Predictions], part: str, other: str
) -> None:
    table = read_predictions(
        csv(tmp_path, f"patient,y,p,part\na,1,0.5,{part}\nb,0,0.1,{part}\n"), kind
    )
    assert table.subgroups == {}
    mixed = csv(tmp_path, f"patient,y,p,part\na,1,0.5,{part}\nb,0,0.1,{other}\n")
    with pytest.raises(RequestInvalid, match=f"row 2 is of part '{other}', and '{part}' is asked"):
        read_predictions(mixed, kind)
