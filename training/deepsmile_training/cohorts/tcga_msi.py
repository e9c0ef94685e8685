"""TCGA-MSI: microsatellite instability from Liu et al. (2018) and from cBioPortal's scores."""

from pathlib import Path

from deepsmile.digest import digest_of_file
from deepsmile_training.cohorts.cohort import Cohort, Patient, make_cohort
from deepsmile_training.cohorts.gdc import read_manifest
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.tables import column_by, number, read_table, rows_of
from deepsmile_training.cohorts.tcga import TumourSlides, is_primary, tcga_patient, tumour_slides
from deepsmile_training.cohorts.tcga_barcode import parse_barcode

CLASSES = ("MSS", "MSI-H")
"""MSI-L counts as MSS."""
STATUS = {"MSS": "MSS", "MSI-L": "MSS", "MSI-H": "MSI-H"}
PROJECTS = ("COAD", "READ")
CUTS = {"MSI_mantis": ("MSI MANTIS Score", 0.6), "MSI_sensor": ("MSIsensor Score", 10.0)}
"""Label to score and the least value that counts as MSI-H. Fixed, so no patient moves them.

Against Liu's 65 MSI-H of COAD and READ: MANTIS finds 58 (1 false), MSIsensor 60 (3 false).
MANTIS from 0.4, its authors' own cut, finds 62 with 12 false.
"""
LIU_PATIENT, LIU_STATUS = "TCGA Participant Barcode", "MSI Status"
PATIENT, SAMPLE, PROJECT = "Patient ID", "Sample ID", "TCGA PanCanAtlas Cancer Type Acronym"


def tcga_msi(
    cbioportal: Path,
    liu: Path,
    *,
    projects: tuple[str, ...] = PROJECTS,
    manifest: Path | None = None,
) -> Cohort:
    """Primary tumours of some projects with labels MSI (Liu's), MSI_mantis and MSI_sensor.

    With a manifest of slides, those patients only who have one. A score that is missing leaves
    its label missing.
    """
    slides = tumour_slides(read_manifest(manifest)) if manifest else None
    status = read_liu(liu)
    rows = read_cbioportal(cbioportal, projects)
    every = [_patient(row, status, slides) for row in rows]
    patients = [one for one in every if one.slides or manifest is None]
    labels = {"MSI": CLASSES} | dict.fromkeys(CUTS, CLASSES)
    tables = [cbioportal, liu, *([manifest] if manifest else [])]
    return make_cohort(
        "tcga-msi",
        patients,
        sources={path.name: digest_of_file(path) for path in tables},
        notes={
            **(slides.notes if slides else {}),
            "patients left out: no slide in the manifest": len(every) - len(patients),
        },
        classes=labels,
    )


def read_liu(path: Path) -> dict[str, str]:
    """MSI-H, MSI-L or MSS by patient; who has no status is absent."""
    rows = rows_of(read_table(path, (LIU_PATIENT, LIU_STATUS)))
    told = column_by(rows, LIU_PATIENT, LIU_STATUS)
    strange = sorted(set(told.values()) - set(STATUS))
    if strange:
        raise CohortInvalid(f"{path.name}: {LIU_STATUS} {', '.join(strange)} is not known")
    return told


def read_cbioportal(path: Path, projects: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of primary tumours of some projects, one per patient."""
    columns = (PATIENT, SAMPLE, PROJECT, *(score for score, _ in CUTS.values()))
    rows = [
        row
        for row in rows_of(read_table(path, columns))
        if row.get(PROJECT) in projects and is_primary(parse_barcode(row[SAMPLE]))
    ]
    if len({row[PATIENT] for row in rows}) < len(rows):
        raise CohortInvalid(f"{path.name}: a patient has two primary samples")
    if not rows:
        raise CohortInvalid(f"{path.name}: no primary tumour of {', '.join(projects)}")
    return rows


def _patient(row: dict[str, str], status: dict[str, str], slides: TumourSlides | None) -> Patient:
    name = row[PATIENT]
    where = f"patient {name}"
    scores = {score: number(row[score], where) for score, _ in CUTS.values() if score in row}
    labels = {
        label: CLASSES[int(scores[score] >= least)]
        for label, (score, least) in CUTS.items()
        if score in scores
    }
    labels |= {"MSI": STATUS[status[name]]} if name in status else {}
    return tcga_patient(
        name, slides, labels=labels, scores=scores, strata={"project": row[PROJECT]}
    )
