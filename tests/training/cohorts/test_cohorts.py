"""What a cohort promises: sorted names, whole patients, labels with all their classes."""

import json
from pathlib import Path

import pytest

from deepsmile_training.cohorts.cohort import load_cohort, make_cohort
from deepsmile_training.cohorts.counting import count_cohort
from deepsmile_training.cohorts.problems import CohortInvalid

from .people import MSI, mixed_cohort, msi_cohort, person


def test_it_comes_back_as_it_was_written(tmp_path: Path):
    cohort = mixed_cohort(0, 20)
    cohort.write(tmp_path / "cohort.json")
    assert load_cohort(tmp_path / "cohort.json") == cohort
    assert load_cohort(tmp_path / "cohort.json").digest == cohort.digest


def test_its_digest_is_of_its_content_and_not_of_the_order_of_rows():
    people = list(msi_cohort().patients)
    again = make_cohort("people", reversed(people), classes={"MSI": MSI})
    fewer = make_cohort("people", people[1:], classes={"MSI": MSI})
    assert again.digest == msi_cohort().digest
    assert fewer.digest != again.digest


def test_a_file_that_was_edited_is_refused(tmp_path: Path):
    path = tmp_path / "cohort.json"
    msi_cohort().write(path)
    path.write_text(path.read_text().replace('"MSI-H"', '"MSS"', 2))
    with pytest.raises(CohortInvalid):
        load_cohort(path)
    content = json.loads(path.read_text())
    content["patients"][0]["labels"]["MSI"] = "MSI-H"
    content["patients"][3]["slides"] = ["other"]
    content["classes"]["MSI"] = ["MSS", "MSI-H"]
    path.write_text(json.dumps(content))
    with pytest.raises(CohortInvalid, match="changed since"):
        load_cohort(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "not JSON"), ("[]", "not a JSON object"), ('{"name": "x"}', "patients: Field required")],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str, complaint: str):
    path = tmp_path / "cohort.json"
    path.write_text(content)
    with pytest.raises(CohortInvalid, match=complaint):
        load_cohort(path)
    with pytest.raises(CohortInvalid, match="no such file"):
        load_cohort(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("people", "classes", "complaint"),
    [
        ([], {}, "no patient is left"),
        ([person(1), person(1)], {}, "listed twice"),
        ([person(1), person(2, slides=("S001",))], {}, "slides are listed twice: S001"),
        ([person(1, msi="MSS")], {}, "no classes are given for MSI"),
        ([person(1, msi="MSS")], {"MSI": ("MSS",)}, "one class only: MSS"),
        ([person(1, msi="MSS")], {"MSI": ("MSS", "MSS")}, "one class only"),
        ([person(1, msi="MSS")], {"MSI": MSI}, "no patient is MSI-H"),
        ([person(1, msi="high")], {"MSI": MSI}, "high is none of MSS, MSI-H"),
    ],
)
def test_what_would_give_wrong_numbers_is_refused(
    people: list, classes: dict[str, tuple[str, ...]], complaint: str
):
    with pytest.raises(CohortInvalid, match=complaint):
        make_cohort("people", people, classes=classes)


def test_a_label_can_be_added_but_not_over_a_rule():
    cohort = mixed_cohort(0, 20)
    more = cohort.with_label(
        "stage", ("I", "II", "III"), {"P000": "I", "P001": "II", "P002": "III"}
    )
    assert [one.labels.get("stage") for one in more.patients[:4]] == ["I", "II", "III", None]
    assert more.label_names == ("MSI", "stage", "mHRD", "tHRD")
    with pytest.raises(CohortInvalid, match="both a label and a rule"):
        cohort.with_label("mHRD", ("a", "b"), {"P000": "a", "P001": "b"})


def test_its_table_counts_patients_and_slides():
    people = [person(0, msi="MSS", slides=("a", "b")), person(1, msi="MSI-H"), person(2, slides=())]
    cohort = make_cohort("people", people, classes={"MSI": MSI})
    assert list(count_cohort(cohort)) == [
        ("(all)", "", "3", "3"),
        ("MSI", "0 MSS", "1", "2"),
        ("MSI", "1 MSI-H", "1", "1"),
    ]
