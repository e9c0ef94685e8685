"""The authors' lists: path, patient, slide, class, in a file per fold, part and subset."""

from pathlib import Path

import pytest

from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid, PatientOverlap
from deepsmile_training.cohorts.published import import_labels, import_split
from deepsmile_training.cohorts.tcga_bc import tcga_bc

from .tables import slide_name, write_gdc, write_hrd, write_lines

WHO = [f"A1-00{index:02d}" for index in range(12)]
OLD = "0001a1fb-f388-41c6-bfe9-ecbb10429e37"


def lines(*indices: int) -> list[str]:
    return [
        f"{OLD}/{slide_name(WHO[i])}.04B0.svs,TCGA-{WHO[i]},{slide_name(WHO[i])},{i % 2}"
        for i in indices
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two folds of twelve patients, the odd ones positive."""
    folds = (range(6), range(6, 12))
    for fold, tested in enumerate(folds):
        rest = list(folds[1 - fold])
        name = f"mHRD_tcga_bc_set={{}}_fold={fold}{{}}.txt"
        write_lines(tmp_path / name.format("test", ""), *lines(*tested))
        write_lines(tmp_path / name.format("val", ""), *lines(*rest[:2]))
        write_lines(tmp_path / name.format("train", "_subset=1.0"), *lines(*rest[2:]))
        write_lines(tmp_path / name.format("train", "_subset=0.5"), *lines(*rest[2:4]))
    return tmp_path


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    scores = {f"TCGA-{who}-01": 10 + 20 * (index % 2) for index, who in enumerate(WHO)}
    hrd = write_hrd(tmp_path / "hrd.tsv", scores)
    return tcga_bc(hrd, write_gdc(tmp_path / "gdc.tsv", *map(slide_name, WHO)))


def names(*indices: int) -> tuple[str, ...]:
    return tuple(f"TCGA-{WHO[index]}" for index in indices)


def test_folds_and_subsets_come_by_barcode(cohort: Cohort, folder: Path):
    split = import_split(cohort, folder, ("mHRD",))
    first, second = split.folds
    assert (first.train, first.val, first.test) == (
        names(8, 9, 10, 11),
        names(6, 7),
        names(*range(6)),
    )
    assert first.subsets == {"0.5": names(8, 9), "1.0": names(8, 9, 10, 11)}
    assert second.test == names(*range(6, 12))
    assert first.thresholds["mHRD"].upper == 20


def test_labels_keep_the_authors_cuts(cohort: Cohort, folder: Path):
    label = import_labels(cohort, folder, "mHRD")
    told = {one.name: one.labels["mHRD_published"] for one in label.patients}
    assert told == {
        name: ("HRD-low", "HRD-high")[k % 2] for k, name in enumerate(names(*range(12)))
    }


def test_a_patient_that_the_cohort_lacks_is_named(cohort: Cohort, folder: Path):
    fewer = cohort.model_copy(update={"patients": cohort.patients[1:]})
    with pytest.raises(CohortInvalid, match=f"lacks: TCGA-{WHO[0]}"):
        import_split(fewer, folder)


def test_a_patient_in_two_lists_is_an_overlap(cohort: Cohort, folder: Path):
    with (folder / "mHRD_tcga_bc_set=val_fold=0.txt").open("a") as file:
        file.write(lines(0)[0] + "\n")
    with pytest.raises(PatientOverlap, match=WHO[0]):
        import_split(cohort, folder)


@pytest.mark.parametrize(
    "line",
    ["a,b", lines(0)[0].replace("DX1,0", "DX1,2"), lines(0)[0].replace(",TCGA-A1", ",TCGA-A2", 1)],
)
def test_a_line_that_is_none_of_theirs_is_shown(cohort: Cohort, folder: Path, line: str):
    write_lines(folder / "mHRD_tcga_bc_set=val_fold=0.txt", line)
    with pytest.raises(CohortInvalid, match="mHRD_tcga_bc_set=val_fold=0"):
        import_split(cohort, folder)


def test_a_missing_list_is_named(cohort: Cohort, folder: Path):
    (folder / "mHRD_tcga_bc_set=val_fold=1.txt").unlink()
    with pytest.raises(CohortInvalid, match=r"fold 1 has no list .*val"):
        import_split(cohort, folder)
    with pytest.raises(CohortInvalid, match="has no lists for tHRD"):
        import_labels(cohort, folder, "tHRD")
