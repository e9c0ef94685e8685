"""TIFF: where each layout keeps its microns per pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deepsmile.slides.slide import Mpp
from deepsmile.slides.tiff import TiffFacts, inspect_tiff
from tests import hostile
from tests.layouts import aperio_text, ome_text, philips_text, write_page

PER_CM = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
FROM_TAGS = Mpp(0.25, 0.25, "tiff-resolution")


def facts_of(path: Path, **options: Any) -> TiffFacts:
    return inspect_tiff(write_page(path / "slide.tif", **options))


@pytest.mark.parametrize(
    ("text", "mpp"),
    [
        ("0.25", 0.25),
        ("0.2525", 0.2525),
        (" 0.499 ", 0.499),
        ("2.5e-1", 0.25),
        ("0", 0.0),
        ("0.0000", 0.0),
        ("-1", -1.0),
        ("-1.000", -1.0),
    ],
)
def test_an_aperio_slide_s_mpp_is_the_one_in_its_description(
    tmp_path: Path, text: str, mpp: float
) -> None:
    """READERS 4.7: 0 and -1 are passed on as stated; `resolve_mpp` judges them."""
    facts = facts_of(tmp_path, description=aperio_text(text), **PER_CM)
    assert (facts.format, facts.mpp) == ("aperio", Mpp(mpp, mpp, "aperio"))


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "-inf", "1e999", "0,25", None])
def test_an_aperio_slide_without_a_number_falls_back_to_its_tags(
    tmp_path: Path, text: str | None
) -> None:
    assert facts_of(tmp_path, description=aperio_text(text), **PER_CM).mpp == FROM_TAGS
    assert facts_of(tmp_path, description=aperio_text(text)).mpp is None


def test_the_original_mpp_of_a_resampled_aperio_slide_is_not_taken(tmp_path: Path) -> None:
    """Aperio keeps `OriginalMPP`-like keys beside `MPP`; only the latter is the page's."""
    text = aperio_text("0.5").replace("|MPP", "|Source MPP = 0.25|XMPP = 0.1|MPP")
    assert facts_of(tmp_path, description=text).mpp == Mpp(0.5, 0.5, "aperio")


@pytest.mark.parametrize(
    ("spacing", "mpp"),
    [
        ("&quot;0.000250&quot; &quot;0.000227&quot;", (0.227, 0.25)),
        ("&quot;2.5e-4&quot; &quot;2.5e-4&quot;", (0.25, 0.25)),
        ("0.00025 0.00025", (0.25, 0.25)),
        ("&quot;0&quot; &quot;0&quot;", (0.0, 0.0)),
    ],
)
def test_a_philips_slide_s_spacing_is_in_mm_rows_first(
    tmp_path: Path, spacing: str, mpp: tuple[float, float]
) -> None:
    """DICOM PS3.3 C.7.6.3, PixelSpacing: row spacing (y), then column spacing (x)."""
    text = philips_text(spacing)
    facts = facts_of(tmp_path, description=text, software="Philips DP v1.0", **PER_CM)
    assert facts.format == "philips"
    assert facts.mpp is not None
    assert (facts.mpp.x, facts.mpp.y) == pytest.approx(mpp)
    assert facts.mpp.source == "philips"


@pytest.mark.parametrize(
    "spacing", ["&quot;0.00025&quot;", "&quot;wide&quot; &quot;wide&quot;", ""]
)
def test_half_a_philips_spacing_is_none(tmp_path: Path, spacing: str) -> None:
    text = philips_text("1 1").replace("&quot;1.000000000&quot; &quot;1.000000000&quot;", spacing)
    text = text.replace(">1 1<", f">{spacing}<")
    facts = facts_of(tmp_path, description=text, software="Philips DP v1.0", **PER_CM)
    assert facts.mpp == FROM_TAGS


@pytest.mark.parametrize(
    ("unit", "value", "mpp"),
    [
        ("µm", "0.25", 0.25),
        ("μm", "0.25", 0.25),
        ("um", "0.25", 0.25),
        ("nm", "250", 0.25),
        ("mm", "0.00025", 0.25),
        ("cm", "0.000025", 0.25),
        (None, "0.25", 0.25),
    ],
    ids=["U+00B5", "U+03BC", "um", "nm", "mm", "cm", "left out"],
)
def test_an_ome_tiff_s_size_is_in_its_own_unit(
    tmp_path: Path, unit: str | None, value: str, mpp: float
) -> None:
    """OME 2016-06, PhysicalSizeXUnit: um unless it says otherwise."""
    axes = [f'PhysicalSize{axis}="{value}"' for axis in "XY"]
    axes += [f'PhysicalSize{axis}Unit="{unit}"' for axis in "XY" if unit]
    facts = facts_of(tmp_path, description=ome_text(" ".join(axes)).encode())
    assert facts.format == "ome-tiff"
    assert facts.mpp is not None
    assert (facts.mpp.x, facts.mpp.y) == pytest.approx((mpp, mpp))
    assert facts.mpp.source == "ome"


def test_an_ome_tiff_s_axes_may_differ(tmp_path: Path) -> None:
    text = ome_text('PhysicalSizeX="0.25" PhysicalSizeY="270" PhysicalSizeYUnit="nm"')
    mpp = facts_of(tmp_path, description=text).mpp
    assert mpp is not None
    assert (mpp.x, mpp.y) == pytest.approx((0.25, 0.27))


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        'PhysicalSizeX="0.25"',
        'PhysicalSizeX="0.25" PhysicalSizeY="nan"',
        'PhysicalSizeX="1" PhysicalSizeY="1" PhysicalSizeXUnit="pixel" PhysicalSizeYUnit="pixel"',
        'PhysicalSizeX="1" PhysicalSizeY="1" PhysicalSizeXUnit="reference frame"',
    ],
)
def test_an_ome_tiff_without_a_length_falls_back_to_its_tags(
    tmp_path: Path, attributes: str
) -> None:
    assert facts_of(tmp_path, description=ome_text(attributes), **PER_CM).mpp == FROM_TAGS


@pytest.mark.parametrize(
    "text",
    [
        "<OME><broken</OME>",
        "<OME></OME>",
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><OME>&a;</OME>',
        "<!DOCTYPE x [<!ENTITY a0 'ha'>"
        + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12))
        + "]><OME>&a11;</OME>",
    ],
    ids=["broken", "empty", "external entity", "billion laughs"],
)
def test_hostile_xml_costs_nothing_but_its_scale(tmp_path: Path, text: str) -> None:
    facts = facts_of(tmp_path, description=text, **PER_CM)
    assert facts.mpp == FROM_TAGS


@pytest.mark.parametrize(
    ("options", "mpp"),
    [
        ({"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}, (0.25, 0.25)),
        ({"resolution": (40_000, 20_000), "resolutionunit": "CENTIMETER"}, (0.25, 0.5)),
        ({"resolution": (25_400, 25_400), "resolutionunit": "INCH"}, (1.0, 1.0)),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, (352.7778, 352.7778)),
    ],
)
def test_the_tags_count_pixels_per_inch_or_cm(
    tmp_path: Path, options: dict[str, Any], mpp: tuple[float, float]
) -> None:
    """TIFF 6.0, tags 282, 283, 296; 72 dpi is stated as it is, and judged later."""
    facts = facts_of(tmp_path, **options)
    assert facts.format == "tiff"
    assert facts.mpp is not None
    assert (facts.mpp.x, facts.mpp.y) == pytest.approx(mpp)
    assert facts.mpp.source == "tiff-resolution"


def test_a_resolution_without_a_unit_or_none_at_all_is_no_scale(tmp_path: Path) -> None:
    """TIFF 6.0, tag 296: 1 is no absolute unit."""
    assert facts_of(tmp_path, resolution=(40_000, 40_000), resolutionunit="NONE").mpp is None
    assert facts_of(tmp_path).mpp is None


@pytest.mark.parametrize("resolution", [(0, 1), (1, 0), (0, 0)])
def test_a_resolution_of_nothing_is_no_scale(tmp_path: Path, resolution: tuple[int, int]) -> None:
    path = write_page(tmp_path / "slide.tif", **PER_CM)
    for tag in (282, 283):
        with tifffile.TiffFile(path) as tiff:
            offset = tiff.pages[0].tags[tag].valueoffset
        hostile.overwrite(path, offset, np.array(resolution, "<u4").tobytes())
    assert inspect_tiff(path).mpp is None
