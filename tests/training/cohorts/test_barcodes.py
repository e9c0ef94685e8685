"""Barcodes of slides, samples and patients, as they come in files' names."""

import pytest

from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.tcga_barcode import Barcode, parse_barcode

SLIDE = Barcode("TCGA-A1-A0SE", "A1", "01", "DX1", "TCGA-A1-A0SE-01Z-00-DX1")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("TCGA-A1-A0SE-01Z-00-DX1.04B09232-C6C4-46EF-AA2C-41D078D0A80A.svs", SLIDE),
        ("0001a1fb-f388-41c6-bfe9-ecbb10429e37/TCGA-A1-A0SE-01Z-00-DX1.04B0.svs", SLIDE),
        ("blk-ADGTYYLEPHCV-TCGA-A1-A0SE-01Z-00-DX1.png", SLIDE),
        ("tcga-a1-a0se-01z-00-dx1", SLIDE),
        ("TCGA-A1-A0SE", Barcode("TCGA-A1-A0SE", "A1")),
        ("TCGA-A1-A0SE-06", Barcode("TCGA-A1-A0SE", "A1", "06")),
        ("TCGA-A1-A0SE-01A", Barcode("TCGA-A1-A0SE", "A1", "01")),
        (
            "TCGA-CR-7395-01A-01-TS1",
            Barcode("TCGA-CR-7395", "CR", "01", "TS1", "TCGA-CR-7395-01A-01-TS1"),
        ),
    ],
)
def test_a_barcode_says_patient_site_sample_and_slide(text: str, code: Barcode):
    assert parse_barcode(text) == code


@pytest.mark.parametrize("text", ["", "A1-A0SE", "TCGA-A1", "TCGA-A1-A0SEX", "XTCGA-A1-A0SE"])
def test_what_is_no_barcode_is_refused(text: str):
    with pytest.raises(CohortInvalid, match="no TCGA barcode"):
        parse_barcode(text)


def test_frozen_sections_are_not_diagnostic_and_normal_tissue_is_no_tumour():
    assert SLIDE.is_diagnostic
    assert not parse_barcode("TCGA-CR-7395-01A-01-TS1").is_diagnostic
    assert SLIDE.is_tumour
    assert parse_barcode("TCGA-A1-A0SE-06Z-00-DX1").is_tumour
    assert not parse_barcode("TCGA-A1-A0SE-11A-01-TS1").is_tumour
    assert not parse_barcode("TCGA-A1-A0SE").is_tumour
