"""The public tables under ../shared/data/labels: every count known in advance."""

import re
from pathlib import Path

import numpy as np
import pytest

from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.gdc import choose_files, read_manifest
from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.published import import_labels, import_split
from deepsmile_training.cohorts.splits import PARTS, Split
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.cohorts.tables import read_table, rows_of
from deepsmile_training.cohorts.tcga_barcode import parse_barcode
from deepsmile_training.cohorts.tcga_bc import read_hrd_scores, tcga_bc
from deepsmile_training.cohorts.tcga_msi import tcga_msi
from deepsmile_training.experiments.grids import GRIDS, Wish
from deepsmile_training.prepared.prepared import Prepared

ROOT = Path(__file__).parents[3] / ".." / "shared" / "data" / "labels"
HISSL, KATHER = ROOT / "deepsmile_hissl", ROOT / "katherlab_cancer-metadata"
HRD = ROOT / "xena_hrd" / "TCGA.HRD_withSampleID.txt"
MANIFEST = HISSL / "resources/data/tcga_bc/gdc_manifest.2021-11-01_diagnostic_breast.txt"
CLINICAL = HISSL / "resources/data/tcga_bc/TCGA-BRCA-DX_CLINI.csv"
SPLITS = HISSL / "splits" / "20211207"
RELEASE = SPLITS / "DeepSMILE_TCGA-BRCA-DX_CLINI.csv"

pytestmark = pytest.mark.skipif(
    not ROOT.is_dir(), reason="../shared/data is not in a clone of the project"
)


@pytest.fixture(scope="module")
def bc() -> Cohort:
    cohort = tcga_bc(HRD, MANIFEST, clinical=CLINICAL, columns=("TP53_driver", "TP53_anymut"))
    return import_labels(import_labels(cohort, SPLITS, "mHRD"), SPLITS, "tHRD")


@pytest.fixture(scope="module")
def published(bc: Cohort) -> Split:
    return import_split(bc, SPLITS, ("mHRD", "tHRD", "mHRD_published", "tHRD_published"))


def count(cohort: Cohort, label: str) -> list[int]:
    told = [one.labels.get(label) for one in cohort.patients]
    return [told.count(name) for name in cohort.classes[label]]


def test_tcga_bc_counts(bc: Cohort):
    assert (len(bc.patients), len(bc.patient_of_slide)) == (1015, 1084)
    assert list(bc.notes.values()) == [0, 1, 48]
    assert count(bc, "TP53_driver") == [680, 327]
    assert count(bc, "mHRD_published") == [503, 496]
    assert count(bc, "tHRD_published") == [329, 349]


def test_the_public_scores_give_the_authors_label_for_998_of_999_patients(bc: Cohort):
    """HRD > 20; the exception has a primary and a metastatic sample."""
    scores = read_hrd_scores(HRD)
    assert len(scores) == 10102
    labels = {
        p.name: p.labels["mHRD_published"] for p in bc.patients if "mHRD_published" in p.labels
    }
    assert len(labels) == 999
    other = [name for name, label in labels.items() if (scores[name] > 20) != (label == "HRD-high")]
    assert other == ["TCGA-BH-A1FE"]


def test_the_cuts_of_the_authors_table():
    """n = 1,041: q.33 = 12, median 20, q.66 = 29; > 20 gives 515, > 21 gives 488."""
    rows = rows_of(read_table(RELEASE, ("PATIENT", "HomologousRecombinationDefects", "mHRD")))
    scores = np.array([float(row["HomologousRecombinationDefects"]) for row in rows])  # (P,)
    assert len(scores) == 1041
    assert np.quantile(scores, [0.33, 0.5, 0.66]).tolist() == [12, 20, 29]
    assert [(scores > cut).sum() for cut in (20, 21)] == [515, 488]


def test_published_folds_are_five_disjoint_tests(published: Split):
    sizes = [[len(fold.part(part)) for part in PARTS] for fold in published.folds]
    assert sizes == [
        [598, 201, 200],
        [595, 202, 202],
        [605, 199, 195],
        [594, 199, 206],
        [600, 203, 196],
    ]
    subsets = [len(patients) for patients in published.folds[0].subsets.values()]
    assert subsets == [58, 119, 181, 241, 302, 360, 418, 480, 539, 598]


def test_published_subsets_make_a_learning_curve(bc: Cohort, published: Split):
    prepared = Prepared(Path("nowhere"), bc, published)
    grid = GRIDS["learning"](prepared, Wish(("mHRD", "tHRD_published"), ("SimCLR",)))
    assert grid.rows == tuple(f"{tenth}0 %" for tenth in range(1, 11))
    assert len(grid.all_cells) == 2 * 10 * 5
    shares = [one.share for one in grid.all_cells if one.kind == "head" and one.fold == 0]
    assert shares[::2] == shares[1::2] == [f"0.{tenth}" for tenth in range(1, 10)] + [None]


def test_published_slides_are_ours_by_barcode_though_no_path_is(bc: Cohort):
    paths = [row["paths"] for row in rows_of(read_table(SPLITS / "paths_to_patient_id.csv"))]
    assert len(paths) == 1068
    assert {parse_barcode(path).slide for path in paths} <= set(bc.patient_of_slide)
    assert not {path.split("/")[0] for path in paths} & {
        file.id for file in read_manifest(MANIFEST)
    }


def test_published_tertile_lists_are_the_same_folds_without_the_middle(
    bc: Cohort, published: Split
):
    tertiles = {one.name for one in bc.patients if "tHRD_published" in one.labels}
    assert len(tertiles) == 678
    name = re.compile(r"tHRD_tcga_bc_set=(\w+)_fold=(\d)(?:_subset=([\d.]+))?\.txt")
    lists = [(path, name.fullmatch(path.name)) for path in SPLITS.glob("tHRD*")]
    for path, match in lists:
        assert match
        part, index, share = match.groups()
        fold = published.folds[int(index)]
        whole = {"val": fold.val, "test": fold.test}.get(part) or fold.subsets[share]
        listed = {line.split(",")[1] for line in path.read_text().splitlines()}
        assert listed == set(whole) & tertiles
    assert len(lists) == 60


def test_each_fold_has_thresholds_of_its_own(published: Split):
    cuts = [fold.thresholds for fold in published.folds]
    assert [one["mHRD"].upper for one in cuts] == [20] * 5
    assert [one["tHRD"].lower for one in cuts] == [13, 13, 13, 12, 13]
    assert [one["tHRD"].upper for one in cuts] == [30, 29, 29, pytest.approx(29.72), 29]


def test_the_manifest_has_every_slide_of_the_cohort(bc: Cohort):
    chosen, missing = choose_files(bc, read_manifest(MANIFEST))
    assert (len(chosen), missing) == (1084, ())


@pytest.mark.parametrize("by_site", [False, True])
def test_our_own_folds_are_balanced_and_stable(bc: Cohort, by_site: bool):
    plan = SplitPlan(labels=("mHRD", "TP53_driver"), by_site=by_site)
    split = make_split(bc, plan)
    assert make_split(bc, plan).digest == split.digest
    for fold in split.folds:
        labels = resolve_labels(bc, fold, "mHRD")
        low, high = labels.count("test")
        assert len(fold.test) == pytest.approx(203, abs=6 if by_site else 1)
        # Sites differ in their scores, so the other folds' median does too.
        assert high / (low + high) == pytest.approx(0.497, abs=0.07 if by_site else 0.01)


@pytest.mark.slow
def test_msi_of_two_tables(bc: Cohort):
    """Of Liu's 65 MSI-H: MANTIS finds 58 (1 false), MSIsensor 60 (3 false)."""
    cohort = tcga_msi(KATHER / "combined_study_clinical_data.xlsx", KATHER / "liu.xlsx")
    assert len(cohort.patients) == 594
    assert count(cohort, "MSI") == [392, 65]
    assert count(cohort, "MSI_mantis") == [490, 67]
    assert count(cohort, "MSI_sensor") == [506, 78]
    found = {}
    for label in ("MSI_mantis", "MSI_sensor"):
        told = [
            one.labels["MSI"]
            for one in cohort.patients
            if one.labels.get(label) == "MSI-H" and "MSI" in one.labels
        ]
        found[label] = (told.count("MSI-H"), told.count("MSS"))
    assert found == {"MSI_mantis": (58, 1), "MSI_sensor": (60, 3)}


@pytest.mark.slow
def test_the_public_scores_of_1049_breast_cancers():
    """Median 20, tertiles 13 and 30."""
    rows = rows_of(read_table(KATHER / "outcome.xlsx", ("bcr_patient_barcode", "type")))
    breast = {row["bcr_patient_barcode"] for row in rows if row["type"] == "BRCA"}
    scores = [score for name, score in read_hrd_scores(HRD).items() if name in breast]
    assert len(scores) == 1049
    assert np.quantile(scores, [1 / 3, 1 / 2, 2 / 3]).tolist() == [13, 20, 30]
