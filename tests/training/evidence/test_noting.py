"""Noting: models that tables tested are counted wherever one of them is looked at again."""

from pathlib import Path

import numpy as np
import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.evidence.elsewhere import POINTER
from deepsmile_training.evidence.making import Tables, evaluate_tables
from deepsmile_training.evidence.noting import note_tests
from deepsmile_training.evidence.points import TARGETS, Targets
from deepsmile_training.evidence.predictions import Predictions
from deepsmile_training.evidence.sealed import SEAL, SealedTest, read_seal
from tests.training.evidence.cases import drawn_test, drawn_validation

TWO = ("no", "yes")


def write_csv(path: Path, table: Predictions) -> None:
    rows = zip(table.patients, table.y.tolist(), table.p.tolist(), strict=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("patient,y,p\n" + "".join(f"{a},{b},{c!r}\n" for a, b, c in rows))


def noted(root: Path, name: str, share: float, label: str = "MSI") -> Tables:
    """The tables of one training on the cohort's test patients."""
    test, seed = drawn_test(), int(share * 100)
    tables = Tables(root / name / "test.csv", root / name / "validation.csv")
    write_csv(root / name / "test.csv", test.with_probabilities(test.p * share))
    write_csv(root / name / "validation.csv", drawn_validation(seed=seed))
    note_tests(tables.predictions, root / "cohort", label, TWO)
    return tables


def look(tables: Tables, targets: Targets = TARGETS) -> int | None:
    return evaluate_tables(tables, targets, seed=0)[0].look


def test_evidence_on_a_table_knows_of_the_models_before_it(tmp_path: Path) -> None:
    """In the order of their trainings; looking again at one of them is no further look."""
    (tmp_path / "cohort").mkdir()
    first, second = noted(tmp_path, "a", 1.0), noted(tmp_path, "b", 0.5)
    other = noted(tmp_path, "c", 0.25, label="HRD")
    assert (look(second), look(first), look(second), look(other)) == (2, 1, 2, 1)
    assert not (tmp_path / "a" / SEAL).exists()
    assert len(read_seal(tmp_path / "cohort").openings) == 6
    with pytest.raises(RequestInvalid, match="in knowledge of the test"):
        look(first, Targets(sensitivity=0.9))


def test_a_bundle_knows_of_the_tables_before_it(tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    for name, share in (("a", 1.0), ("b", 0.5)):
        noted(tmp_path, name, share)
        noted(tmp_path, name, share)  # the table was made again
    test = drawn_test()
    ours = SealedTest(test.with_probabilities(test.p / 3), tmp_path / "cohort", "MSI")
    assert ours.open(make_choice(drawn_validation())).look == 3


def test_a_table_forbids_no_choice_and_its_evidence_does(tmp_path: Path) -> None:
    """A training is counted; only where a choice was tested is nothing chosen any more."""
    (tmp_path / "cohort").mkdir()
    tested = frozenset(drawn_test().patients)
    tables = noted(tmp_path, "a", 1.0)
    read_seal(tmp_path / "cohort").check_untested(tested)
    look(tables)
    with pytest.raises(RequestInvalid, match="300 of 300 patients to choose on were test patients"):
        read_seal(tmp_path / "cohort").check_untested(tested)
    write_csv(tmp_path / "a" / "renamed.csv", drawn_test())
    with pytest.raises(RequestInvalid, match="in knowledge of the test"):
        look(Tables(tmp_path / "a" / "renamed.csv", None))


def test_of_several_classes_each_is_a_question(tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    y = np.arange(60) % 3
    for name, sure in (("a", 0.6), ("b", 0.8)):
        rest = (1 - sure) / 2
        rows = [
            ",".join(
                [f"t{i}", str(k), *(repr(sure if k == c else rest + i / 999) for c in range(3))]
            )
            for i, k in enumerate(y)
        ]
        table = tmp_path / name / "test.csv"
        table.parent.mkdir()
        table.write_text("\n".join(["patient,y,p_low,p_mid,p_high", *rows]) + "\n")
        note_tests(table, tmp_path / "cohort", "grade", ("low", "mid", "high"))
    validation = tmp_path / "b" / "validation.csv"
    validation.write_text((tmp_path / "b" / "test.csv").read_text().replace("\nt", "\nv"))
    assert look(Tables(tmp_path / "b" / "test.csv", validation, "high")) == 2
    labels = [one.label for one in read_seal(tmp_path / "cohort").openings]
    assert labels[:3] == ["grade: low", "grade: mid", "grade: high"]
    assert labels[-1] == "grade: high"


@pytest.mark.parametrize(
    ("damage", "complaint"), [("gone", "is gone"), ("edited", "it was changed")]
)
def test_a_cohort_s_folder_that_is_not_there_is_asked_for(
    damage: str, complaint: str, tmp_path: Path
) -> None:
    """Nothing is opened where nobody could know of it."""
    (tmp_path / "cohort").mkdir()
    tables = noted(tmp_path, "a", 1.0)
    if damage == "gone":
        (tmp_path / "cohort").rename(tmp_path / "moved")
    else:
        pointer = tmp_path / "a" / POINTER
        pointer.write_text(pointer.read_text().replace("cohort", "a"))
    with pytest.raises(RequestInvalid, match=complaint) as caught:
        look(tables)
    assert caught.value.hint
