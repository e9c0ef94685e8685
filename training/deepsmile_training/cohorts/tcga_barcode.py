"""TCGA barcodes: TCGA-A1-A0SE-01Z-00-DX1 is site A1, patient A0SE, sample type 01, slide DX1."""

import re
from dataclasses import dataclass

from deepsmile_training.cohorts.problems import CohortInvalid

PRIMARY_TUMOUR = "01"
NORMAL = "10"
"""Sample type codes: tumours (06: a metastasis) come before normal tissue."""
_BARCODE = re.compile(
    r"(?<![A-Z0-9])(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})"
    r"(?:-(?P<sample>\d{2})(?:[A-Z](?:-\d{2}-(?P<section>[A-Z]{2}[A-Z0-9]{1,2}))?)?)?"
    r"(?![A-Z0-9])"
)


@dataclass(frozen=True)
class Barcode:
    """What a barcode says; the last three only if it is long enough."""

    patient: str
    """As TCGA-A1-A0SE."""
    site: str
    """Tissue source site: the hospital, by which splits may be made."""
    sample: str | None = None
    """Sample type, two digits."""
    section: str | None = None
    """DX1 for the first diagnostic (FFPE) slide, TS1 or BS1 for frozen ones."""
    slide: str | None = None
    """All of it, as TCGA-A1-A0SE-01Z-00-DX1: names one slide, whatever file has it."""

    @property
    def is_diagnostic(self) -> bool:
        """Whether it names an FFPE slide."""
        return self.section is not None and self.section.startswith("DX")

    @property
    def is_tumour(self) -> bool:
        """Whether its sample is of a tumour, primary or not."""
        return self.sample is not None and self.sample < NORMAL


def parse_barcode(text: str) -> Barcode:
    """The barcode within a text, such as a file's name. Raises CohortInvalid without one."""
    found = _BARCODE.search(text.upper())
    if found is None:
        raise CohortInvalid(f"{text!r} has no TCGA barcode")
    slide = found.group() if found["section"] else None
    return Barcode(found["patient"], found["site"], found["sample"], found["section"], slide)
