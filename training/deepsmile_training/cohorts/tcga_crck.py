"""TCGA-CRCk: Kather's colorectal tiles (2019), in folders that tell class and part.

Published as 155,176 tiles of 360 patients (paper section 3.1.1): 39 MSI and 221 MSS to train
on, 26 and 74 to test on. The notes tell how much of it a folder has.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deepsmile_training.cohorts.cohort import Cohort, make_cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.tcga import TumourSlides, tcga_patient
from deepsmile_training.cohorts.tcga_barcode import parse_barcode
from deepsmile_training.slide_files import walk

CLASSES = ("MSS", "MSIMUT")
"""Names of the folders; the second is class 1."""
PART = "published_part"
"""Stratum with Kather's own part, "train" or "test"."""
TEST = (PART, "test")
PATIENTS, TILES = 360, 155_176
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class _Seen:
    """What one tile's place says of its slide."""

    patient: str
    slide: str
    label: str
    part: str


def tcga_crck(folder: Path) -> Cohort:
    """The patients of a folder that has MSS and MSIMUT below names with TRAIN or TEST.

    Tiles lie as CRC_DX_TRAIN/MSIMUT/blk-XXXX-TCGA-AA-3833-01Z-00-DX1.png, or as the archives
    unpack (CRC_DX_TRAIN_MSIMUT/MSIMUT). Raises CohortInvalid where a patient is in two classes
    or in two parts.
    """
    seen = Counter(_look(folder.resolve()))
    if not seen:
        raise CohortInvalid(f"{folder} has no tiles in folders MSS or MSIMUT of TRAIN or TEST")
    slides: dict[str, set[str]] = {}
    told: dict[str, tuple[str, str]] = {}
    for one in sorted(seen, key=lambda one: one.slide):
        slides.setdefault(one.patient, set()).add(one.slide)
        if told.setdefault(one.patient, (one.label, one.part)) != (one.label, one.part):
            raise CohortInvalid(f"{one.patient} is in two classes or in two parts of {folder}")
    found = TumourSlides({name: tuple(sorted(its)) for name, its in slides.items()}, {})
    patients = [
        tcga_patient(name, found, labels={"MSI": label}, strata={PART: part})
        for name, (label, part) in told.items()
    ]
    notes = {
        f"patients, of {PATIENTS} published": len(patients),
        f"tiles, of {TILES} published": seen.total(),
    }
    return make_cohort("tcga-crck", patients, classes={"MSI": CLASSES}, notes=notes)


def _look(folder: Path) -> Iterator[_Seen]:
    """What each tile says; 155,176 of them, so no Path is made per tile."""
    for place, _, names in walk(folder):
        label = place.name.upper()
        if label not in CLASSES:
            continue
        part = _part_of(folder, place)
        for name in names:
            if name.lower().endswith(IMAGES):
                code = parse_barcode(name)
                yield _Seen(code.patient, code.slide or code.patient, label, part)


def _part_of(folder: Path, place: Path) -> str:
    """What the nearest name up to the folder's own says."""
    for name in reversed((folder.name, *place.relative_to(folder).parts)):
        parts = [part for part in ("train", "test") if part in name.lower()]
        if len(parts) == 1:
            return parts[0]
    raise CohortInvalid(f"{place} is below no folder TRAIN or TEST")
