"""TCGA-BC: breast cancer, HRD scores of the public table, mutations of the clinical one.

The paper counts 940 patients whose mutation status is known too (section 3.1.2); the authors'
later table has 1,041 with a score, of whom 999 have slides in their splits; these tables give
1,015 with a score and a slide.
"""

from pathlib import Path

from deepsmile.digest import digest_of_file
from deepsmile_training.cohorts.cohort import Cohort, make_cohort
from deepsmile_training.cohorts.gdc import read_manifest
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.rules import ThresholdRule
from deepsmile_training.cohorts.tables import column_by, number, read_table, rows_of
from deepsmile_training.cohorts.tcga import (
    UNKNOWN,
    classes_of,
    is_primary,
    tcga_patient,
    tumour_slides,
)
from deepsmile_training.cohorts.tcga_barcode import parse_barcode

HRD_CLASSES = ("HRD-low", "HRD-high")
MHRD = ThresholdRule(column="HRD", classes=HRD_CLASSES, lower=0.5, upper=0.5, strict=True)
"""Eq. 1: above the median. The paper says 21; its data and code say 20."""
THRD = ThresholdRule(column="HRD", classes=HRD_CLASSES, lower=0.33, upper=0.66)
"""Eq. 2: upper against lower tertile. The paper's two numbers, 13 and 30, are swapped."""
RULES = {"mHRD": MHRD, "tHRD": THRD}
SAMPLE, SCORE = "sampleID", "HRD"


def tcga_bc(
    hrd: Path,
    manifest: Path,
    *,
    clinical: Path | None = None,
    columns: tuple[str, ...] = ("TP53_driver",),
) -> Cohort:
    """Patients with a diagnostic slide and an HRD score of the primary tumour.

    `columns` of the clinical table become labels: the mutated or positive class is 1.
    """
    scores = read_hrd_scores(hrd)
    slides = tumour_slides(read_manifest(manifest))
    patients = sorted(set(scores) & set(slides.of))
    tables = [hrd, manifest, *([clinical] if clinical else [])]
    cohort = make_cohort(
        "tcga-bc",
        [tcga_patient(name, slides, scores={SCORE: scores[name]}) for name in patients],
        sources={path.name: digest_of_file(path) for path in tables},
        notes={
            **slides.notes,
            "patients left out: slides, but no HRD score": len(set(slides.of) - set(scores)),
        },
        rules=RULES,
    )
    return _with_columns(cohort, clinical, columns) if clinical else cohort


def read_hrd_scores(path: Path) -> dict[str, float]:
    """HRD score of each patient's primary tumour, all TCGA projects (Knijnenburg et al. 2018)."""
    scores: dict[str, float] = {}
    for row in rows_of(read_table(path, (SAMPLE, SCORE))):
        code = parse_barcode(row.get(SAMPLE, ""))
        if not is_primary(code) or SCORE not in row:
            continue
        if code.patient in scores:
            raise CohortInvalid(f"{path.name}: {code.patient} has two primary samples")
        scores[code.patient] = number(row[SCORE], f"{path.name}: {code.patient}")
    return scores


def _with_columns(cohort: Cohort, clinical: Path, columns: tuple[str, ...]) -> Cohort:
    rows = rows_of(read_table(clinical, ("PATIENT", *columns)))
    for column in columns:
        of = {
            name: value
            for name, value in column_by(rows, "PATIENT", column).items()
            if name in cohort.by_name and value not in UNKNOWN
        }
        cohort = cohort.with_label(column, classes_of(column, of.values()), of)
    return cohort
