"""TCGA-BC, TCGA-CRCk and TCGA-MSI, each from small tables."""

from pathlib import Path

import pytest

from deepsmile.digest import digest_of_file
from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.cohorts.tcga_bc import MHRD, THRD, tcga_bc
from deepsmile_training.cohorts.tcga_crck import TEST, tcga_crck
from deepsmile_training.cohorts.tcga_msi import tcga_msi

from .tables import slide_name, write_gdc, write_hrd, write_lines, write_workbook


def labels_of(cohort: Cohort, label: str) -> dict[str, str]:
    return {one.name: one.labels[label] for one in cohort.patients if label in one.labels}


@pytest.fixture
def bc(tmp_path: Path) -> dict[str, Path]:
    """Four patients with slides; B has a metastasis scored too, C no score, D a metastasis only."""
    return {
        "hrd": write_hrd(
            tmp_path / "hrd.txt",
            {"TCGA-A1-000A-01": 30, "TCGA-A1-000B-01": 26, "TCGA-A1-000B-06": 0}
            | {"TCGA-A2-000D-01": 5, "TCGA-A2-000E-01": 7, "TCGA-A2-000C-06": 9},
        ),
        "manifest": write_gdc(
            tmp_path / "gdc.txt",
            slide_name("A1-000A", "DX2"),
            slide_name("A1-000A"),
            slide_name("A1-000B"),
            slide_name("A1-000C"),
            slide_name("A2-000D", sample="06Z-00"),
            slide_name("A2-000D", "TS1", "01A-01"),
        ),
        "clinical": write_lines(
            tmp_path / "clinical.csv",
            "PATIENT,TP53_driver,TP53_anymut,ERStatus,Subtype",
            "TCGA-A1-000A,NODRIVER,MUT,Positive,LumB",
            "TCGA-A1-000B,DRIVER,WT,Negative,LumA",
            "TCGA-A2-000D,NODRIVER,WT,Equivocal,",
            "TCGA-A9-000Z,DRIVER,MUT,Positive,Basal",
        ),
    }


def test_tcga_bc_takes_the_primary_tumours_score(bc: dict[str, Path]):
    cohort = tcga_bc(bc["hrd"], bc["manifest"])
    scores = {one.name[-1]: one.scores["HRD"] for one in cohort.patients}
    assert scores == {"A": 30.0, "B": 26.0, "D": 5.0}
    assert [one.site for one in cohort.patients] == ["A1", "A1", "A2"]
    assert cohort.patients[0].slides == (slide_name("A1-000A"), slide_name("A1-000A", "DX2"))
    assert cohort.rules == {"mHRD": MHRD, "tHRD": THRD}
    assert sorted(cohort.notes.values()) == [1, 1, 1]
    assert cohort.sources["hrd.txt"] == digest_of_file(bc["hrd"])


def test_tcga_bc_has_the_mutated_or_positive_class_second(bc: dict[str, Path]):
    columns = ("TP53_driver", "TP53_anymut", "ERStatus", "Subtype")
    cohort = tcga_bc(bc["hrd"], bc["manifest"], clinical=bc["clinical"], columns=columns)
    assert cohort.classes == {
        "TP53_driver": ("NODRIVER", "DRIVER"),
        "TP53_anymut": ("WT", "MUT"),
        "ERStatus": ("Negative", "Positive"),
        "Subtype": ("LumA", "LumB"),
    }
    told = labels_of(cohort, "ERStatus")
    assert told == {"TCGA-A1-000A": "Positive", "TCGA-A1-000B": "Negative"}


def test_tcga_bc_refuses_two_primary_scores_of_a_patient(bc: dict[str, Path]):
    with bc["hrd"].open("a") as file:
        file.write("TCGA-A1-000A-01\t1\t2\t3\t99\n")
    with pytest.raises(CohortInvalid, match="TCGA-A1-000A has two primary samples"):
        tcga_bc(bc["hrd"], bc["manifest"])


def tiles(folder: Path, place: str, *patients: str) -> None:
    (folder / place).mkdir(parents=True)
    for patient in patients:
        for tile in ("AAAA", "BBBB"):
            (folder / place / f"blk-{tile}-{slide_name(patient)}.png").touch()


@pytest.mark.parametrize(
    "places",
    [
        ("CRC_DX_{}/MSS", "CRC_DX_{}/MSIMUT"),
        ("CRC_DX_{}_MSS/MSS", "CRC_DX_{}_MSIMUT/MSIMUT"),
        ("{}/MSS", "{}/MSIMUT"),
    ],
)
def test_tcga_crck_reads_every_layout_that_the_archives_unpack_to(
    tmp_path: Path, places: tuple[str, str]
):
    mss, msi = places
    folder = tmp_path / "tcga-crck"
    tiles(folder, mss.format("TRAIN"), "AA-0000", "AA-0001", "AA-0002", "AA-0003")
    tiles(folder, msi.format("TRAIN"), "AB-0000", "AB-0001", "AB-0002", "AB-0003")
    tiles(folder, mss.format("TEST"), "AC-0000")
    tiles(folder, msi.format("TEST"), "AC-0001")
    cohort = tcga_crck(folder)
    told = labels_of(cohort, "MSI")
    assert {name[5:] for name, its in told.items() if its == "MSIMUT"} == {
        "AB-0000", "AB-0001", "AB-0002", "AB-0003", "AC-0001",
    }  # fmt: skip
    assert cohort.classes == {"MSI": ("MSS", "MSIMUT")}
    assert cohort.by_name["TCGA-AC-0000"].slides == (slide_name("AC-0000"),)
    assert list(cohort.notes.values()) == [10, 20]
    plan = SplitPlan(kind="fixed-test", test_where=TEST, folds=4, labels=("MSI",))
    for fold in make_split(cohort, plan).folds:
        assert fold.test == ("TCGA-AC-0000", "TCGA-AC-0001")
        assert len(fold.val) == 2


def test_tcga_crck_follows_links_to_folders(tmp_path: Path):
    """Where the archives lie on another disk; a link back to the whole is gone around."""
    tiles(tmp_path / "disk", "TRAIN/MSS", "AA-0000")
    tiles(tmp_path / "disk", "mutated", "AB-0000")
    (tmp_path / "crck").mkdir()
    (tmp_path / "crck" / "TRAIN").symlink_to(tmp_path / "disk" / "TRAIN")
    (tmp_path / "disk" / "TRAIN" / "MSIMUT").symlink_to(tmp_path / "disk" / "mutated")
    (tmp_path / "disk" / "mutated" / "whole").symlink_to(tmp_path / "crck")
    cohort = tcga_crck(tmp_path / "crck")
    assert labels_of(cohort, "MSI") == {"TCGA-AA-0000": "MSS", "TCGA-AB-0000": "MSIMUT"}
    assert list(cohort.notes.values()) == [2, 4]


def test_tcga_crck_refuses_a_patient_in_two_parts(tmp_path: Path):
    tiles(tmp_path, "TRAIN/MSS", "AA-0000")
    tiles(tmp_path, "TEST/MSS", "AA-0000")
    with pytest.raises(CohortInvalid, match="TCGA-AA-0000 is in two"):
        tcga_crck(tmp_path)


def test_tcga_crck_refuses_other_folders(tmp_path: Path):
    with pytest.raises(CohortInvalid, match="has no tiles"):
        tcga_crck(tmp_path)
    tiles(tmp_path, "all/MSS", "AA-0000")
    with pytest.raises(CohortInvalid, match="no folder TRAIN or TEST"):
        tcga_crck(tmp_path / "all")


MANTIS, SENSOR, PROJECT = (
    "MSI MANTIS Score",
    "MSIsensor Score",
    "TCGA PanCanAtlas Cancer Type Acronym",
)


@pytest.fixture
def msi(tmp_path: Path) -> tuple[Path, Path]:
    """Five primary tumours of COAD and READ, one metastasis, one of STAD."""

    def row(
        who: str, project: str, mantis: float | None, sensor: float | None
    ) -> dict[str, object]:
        known = {"Patient ID": f"TCGA-{who}", "Sample ID": f"TCGA-{who}-01", PROJECT: project}
        return known | {MANTIS: mantis, SENSOR: sensor}

    rows = [
        row("AA-0000", "COAD", 0.6, 9.99),
        row("AA-0001", "READ", 0.599, 10),
        row("AA-0002", "COAD", None, 0.1),
        row("AA-0003", "COAD", 0.3, None),
        row("AA-0004", "COAD", 0.9, 30),
        row("AA-0004", "COAD", 0.1, 0) | {"Sample ID": "TCGA-AA-0004-06"},
        row("AA-0005", "STAD", 0.9, 30),
    ]
    liu = [
        {"TCGA Participant Barcode": f"TCGA-AA-{index:04d}", "MSI Status": status}
        for index, status in enumerate(("MSI-H", "MSI-L", "MSS", None, "MSI-H", "MSI-H"))
    ]
    return write_workbook(tmp_path / "cbio.xlsx", rows), write_workbook(tmp_path / "liu.xlsx", liu)


def test_tcga_msi_has_three_labels_that_may_be_missing(msi: tuple[Path, Path], tmp_path: Path):
    cohort = tcga_msi(*msi)
    told = {
        label: [labels_of(cohort, label).get(p) for p in cohort.by_name] for label in cohort.classes
    }
    high, low = "MSI-H", "MSS"
    assert told == {
        "MSI": [high, low, low, None, high],
        "MSI_mantis": [high, low, None, low, high],
        "MSI_sensor": [low, high, low, None, high],
    }
    assert cohort.by_name["TCGA-AA-0001"].strata == {"project": "READ"}
    assert cohort.by_name["TCGA-AA-0004"].scores == {MANTIS: 0.9, SENSOR: 30.0}
    wider = tcga_msi(*msi, projects=("COAD", "STAD"))
    assert [name[-1] for name in wider.by_name] == ["0", "2", "3", "4", "5"]
    slides = write_gdc(
        tmp_path / "gdc.txt", slide_name("AA-0000"), slide_name("AA-0001"), slide_name("AA-0002")
    )
    fewer = tcga_msi(*msi, manifest=slides)
    assert list(fewer.patient_of_slide) == [slide_name(f"AA-000{k}") for k in range(3)]
    assert fewer.notes["patients left out: no slide in the manifest"] == 2


def test_tcga_msi_refuses_an_unknown_status_and_an_absent_project(
    msi: tuple[Path, Path], tmp_path: Path
):
    with pytest.raises(CohortInvalid, match="no primary tumour of LUAD"):
        tcga_msi(*msi, projects=("LUAD",))
    liu = [{"TCGA Participant Barcode": "TCGA-AA-0000", "MSI Status": "high"}]
    with pytest.raises(CohortInvalid, match="MSI Status high is not known"):
        tcga_msi(msi[0], write_workbook(tmp_path / "other.xlsx", liu))
