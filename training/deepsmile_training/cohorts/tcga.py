"""TCGA: what its cohorts share, from slides of manifests to columns of clinical tables."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deepsmile_training.cohorts.cohort import Patient
from deepsmile_training.cohorts.gdc import GdcFile
from deepsmile_training.cohorts.tcga_barcode import PRIMARY_TUMOUR, Barcode, parse_barcode

UNKNOWN = frozenset(
    ("Not Performed", "Performed but Not Available", "Not Available", "Equivocal", "Indeterminate")
)
"""Cells of the clinical tables that say nothing; an equivocal HER2 is neither class."""
NO_TUMOUR = "slides left out: frozen, or of no tumour"
METASTASIS = "slides of metastases, kept with the primary tumour's labels"
_CLASSES = (
    ("_driver", ("NODRIVER", "DRIVER")),
    ("_anymut", ("WT", "MUT")),
    ("Status", ("Negative", "Positive")),
)


@dataclass(frozen=True)
class TumourSlides:
    """Diagnostic (FFPE) slides of tumours, by patient."""

    of: Mapping[str, tuple[str, ...]]
    notes: Mapping[str, int]
    """What to know of them, counted."""


def tumour_slides(files: Iterable[GdcFile]) -> TumourSlides:
    """All FFPE slides of tumours (paper section 3.1.2), a few of them metastases.

    Labels are the primary tumour's. One slide of TCGA-BRCA's 1,134 is a metastasis; the authors'
    splits have it.
    """
    slides: dict[str, list[str]] = defaultdict(list)
    notes = dict.fromkeys((NO_TUMOUR, METASTASIS), 0)
    for code in (file.barcode for file in files):
        if not (code.slide and code.is_diagnostic and code.is_tumour):
            notes[NO_TUMOUR] += 1
            continue
        notes[METASTASIS] += code.sample != PRIMARY_TUMOUR
        slides[code.patient].append(code.slide)
    return TumourSlides({name: tuple(sorted(its)) for name, its in slides.items()}, notes)


def is_primary(code: Barcode) -> bool:
    """Whether a molecular sample is of a primary tumour."""
    return code.sample == PRIMARY_TUMOUR


def classes_of(column: str, values: Iterable[str]) -> tuple[str, ...]:
    """A clinical column's classes: the unmutated or negative one first, else in sorted order."""
    for ending, classes in _CLASSES:
        if column.endswith(ending):
            return classes
    return tuple(sorted(set(values)))


def tcga_patient(name: str, slides: TumourSlides | None, **known: object) -> Patient:
    """A patient by barcode, with the site that it names and the slides found."""
    its = slides.of.get(name, ()) if slides else ()
    site = parse_barcode(name).site
    return Patient.model_validate({"name": name, "site": site, "slides": its, **known})
