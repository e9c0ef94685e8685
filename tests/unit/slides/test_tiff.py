"""TIFF: what its tables say, before any decoder sees it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deepsmile.errors import (
    DeepSmileError,
    SlideCorrupt,
    SlideTooLarge,
    SlideTruncated,
    SlideUnsupported,
)
from deepsmile.slides.slide import Mpp
from deepsmile.slides.tiff import TiffFacts, inspect_tiff
from tests import hostile
from tests.layouts import flat_image, write_page

PER_CM = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
FROM_TAGS = Mpp(0.25, 0.25, "tiff-resolution")


def facts_of(path: Path, **options: Any) -> TiffFacts:
    return inspect_tiff(write_page(path / "slide.tif", **options))


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "jpeg"},
        {"compression": "jpeg", "photometric": "ycbcr"},
        {"compression": "aperio_jp2000_rgb"},
        {"compression": "lzw"},
        {"compression": "lzw", "predictor": True},
        {"compression": "adobe_deflate"},
        {"compression": None},
        {"compression": "lzw", "byteorder": ">"},
        {"compression": "jpeg", "bigtiff": True},
    ],
    ids=str,
)
def test_tiled_8_bit_rgb_goes_to_cucim(tmp_path: Path, options: dict[str, Any]) -> None:
    assert facts_of(tmp_path, **options).cucim_objections == ()


GREY = np.full((48, 64), 200, np.uint8)
RGBA = np.full((48, 64, 4), 200, np.uint8)


@pytest.mark.parametrize(
    ("options", "objection"),
    [
        ({"compression": "adobe_deflate", "predictor": True}, "deflate with a predictor"),
        ({"compression": "zstd"}, "compression 50000 is unknown"),
        ({"compression": "webp"}, "compression 50001 is unknown"),
        ({"image": GREY, "photometric": "minisblack", "compression": "lzw"}, "not 8-bit"),
        ({"image": RGBA, "extrasamples": ["unassalpha"], "compression": "lzw"}, "not 8-bit"),
        ({"image": np.uint16(257) * flat_image(), "compression": "lzw"}, "not 8-bit"),
        (
            {"image": np.stack([GREY] * 3), "planarconfig": "separate", "compression": "lzw"},
            "not 8-bit",
        ),
        ({"photometric": "cielab", "compression": "lzw"}, "takes for RGB"),
        ({"photometric": "ycbcr", "compression": "lzw"}, "takes for RGB"),
        ({"photometric": "ycbcr", "compression": None}, "takes for RGB"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_cucim_cannot_read_right_goes_elsewhere_and_says_why(
    tmp_path: Path, options: dict[str, Any], objection: str
) -> None:
    """READERS 4.2, 4.10; cuCIM also takes CIELAB and uncompressed YCbCr for RGB."""
    objections = facts_of(tmp_path, **options).cucim_objections
    assert any(objection in text for text in objections)


def test_a_missing_tile_is_an_objection(tmp_path: Path) -> None:
    path = hostile.drop_tile(write_page(tmp_path / "slide.tif", compression="lzw"), 1)
    assert inspect_tiff(path).cucim_objections == ("missing tiles, which cuCIM reads as black",)


@pytest.mark.parametrize("compression", ["jpeg", "aperio_jp2000_rgb"])
@pytest.mark.parametrize("index", [0, 2, 3])
def test_a_tile_without_its_markers_is_an_objection(
    tmp_path: Path, compression: str, index: int
) -> None:
    path = write_page(tmp_path / "slide.tif", compression=compression)
    assert "marker" in inspect_tiff(hostile.zero_tile(path, index)).cucim_objections[0]


def test_an_objection_is_said_once_however_many_levels_have_it(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:
        for _ in range(3):
            writer.write(flat_image(), tile=(32, 32), compression="zstd", metadata=None)
    assert inspect_tiff(tmp_path / "slide.tif").cucim_objections == (
        "compression 50000 is unknown to cuCIM",
    )


def test_strips_are_refused(tmp_path: Path) -> None:
    """docs/decisions.md: they cannot be read by region."""
    with pytest.raises(SlideUnsupported, match="strips"):
        facts_of(tmp_path, tile=None, rowsperstrip=16)


def test_a_thumbnail_in_front_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:
        writer.write(flat_image(), rowsperstrip=16, metadata=None)
        writer.write(flat_image(), tile=(32, 32), metadata=None)
    with pytest.raises(SlideUnsupported, match="first image"):
        inspect_tiff(tmp_path / "slide.tif")


@pytest.mark.parametrize("tag", [hostile.TILE_WIDTH, hostile.TILE_LENGTH])
@pytest.mark.parametrize("side", [65_520, 4112, 8])
def test_stored_tiles_of_absurd_size_are_refused(tmp_path: Path, tag: int, side: int) -> None:
    """READERS 4: OpenSlide aborts on tiles of 65520 px."""
    path = hostile.patch_tag(write_page(tmp_path / "slide.tif"), tag, side)
    with pytest.raises(SlideTooLarge, match=f"{side}"):
        inspect_tiff(path)


@pytest.mark.parametrize("tag", [hostile.TILE_WIDTH, hostile.TILE_LENGTH])
def test_stored_tiles_of_no_size_are_refused(tmp_path: Path, tag: int) -> None:
    path = hostile.patch_tag(write_page(tmp_path / "slide.tif"), tag, 0)
    with pytest.raises((SlideUnsupported, SlideCorrupt, SlideTooLarge)):
        inspect_tiff(path)


@pytest.mark.parametrize(
    ("value", "error"),
    [(2**31, SlideTooLarge), (2**32 - 1, SlideTooLarge), (2_000_001, SlideTooLarge)],
)
@pytest.mark.parametrize("tag", [hostile.WIDTH, hostile.LENGTH])
def test_absurd_dimensions_are_refused(
    tmp_path: Path, tag: int, value: int, error: type[DeepSmileError]
) -> None:
    path = hostile.patch_tag(write_page(tmp_path / "slide.tif"), tag, value)
    with pytest.raises(error, match=str(value)):
        inspect_tiff(path)


@pytest.mark.parametrize("tag", [hostile.WIDTH, hostile.LENGTH])
def test_no_dimensions_are_corrupt(tmp_path: Path, tag: int) -> None:
    path = hostile.patch_tag(write_page(tmp_path / "slide.tif"), tag, 0)
    with pytest.raises(SlideCorrupt):
        inspect_tiff(path)


def test_more_tiles_than_are_listed_are_corrupt(tmp_path: Path) -> None:
    path = hostile.patch_tag(write_page(tmp_path / "slide.tif"), hostile.WIDTH, 640)
    with pytest.raises(SlideCorrupt, match="20 x 2 tiles lists 4 offsets, 4 sizes"):
        inspect_tiff(path)


@pytest.mark.parametrize("tag", [hostile.OFFSETS, hostile.COUNTS])
@pytest.mark.parametrize("count", [1, 3])
def test_offsets_and_sizes_must_be_one_a_tile(tmp_path: Path, tag: int, count: int) -> None:
    path = hostile.patch_tag_count(write_page(tmp_path / "slide.tif"), tag, count)
    with pytest.raises(SlideCorrupt, match="2 x 2 tiles"):
        inspect_tiff(path)


@pytest.mark.parametrize(("tag", "value"), [(hostile.OFFSETS, 2**31), (hostile.COUNTS, 65_535)])
@pytest.mark.parametrize("index", [0, 3])
def test_a_tile_beyond_the_end_means_that_the_file_is_cut_short(
    tmp_path: Path, tag: int, value: int, index: int
) -> None:
    path = hostile.patch_tag(write_page(tmp_path / "slide.tif"), tag, value, index=index)
    with pytest.raises(SlideTruncated, match="a tile ends at byte"):
        inspect_tiff(path)


def test_pages_beyond_the_end_mean_that_the_file_is_cut_short(tmp_path: Path) -> None:
    """Aperio's tables follow its pixels: a copy that stops early loses its coarse levels first."""
    path = write_page(tmp_path / "slide.tif")
    with tifffile.TiffFile(path) as tiff:
        end = tiff.pages[0].offset + 2 + 12 * len(tiff.pages[0].tags)
    hostile.overwrite(path, end, np.array([path.stat().st_size], "<u4").tobytes())
    with pytest.raises(SlideTruncated, match="a page starts at byte"):
        inspect_tiff(path)


def test_a_loop_of_pages_comes_to_an_end(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:
        for _ in range(3):
            writer.write(flat_image(), tile=(32, 32), compression="jpeg", metadata=None)
    assert inspect_tiff(hostile.loop_pages(tmp_path / "slide.tif")).cucim_objections == ()


@pytest.mark.parametrize("size", [8, 100, 200])
def test_a_few_first_bytes_are_no_slide(tmp_path: Path, size: int) -> None:
    path = hostile.truncated(write_page(tmp_path / "slide.tif"), size)
    with pytest.raises((SlideTruncated, SlideUnsupported, SlideCorrupt)):
        inspect_tiff(path)


@pytest.mark.parametrize("text", [b"", b"II*\0", b"not a TIFF at all", b"MM\0*\0\0\0\x08\0\0"])
def test_other_bytes_are_no_tiff(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "slide.tif").write_bytes(text)
    with pytest.raises((SlideTruncated, SlideUnsupported, SlideCorrupt)):
        inspect_tiff(tmp_path / "slide.tif")


ORIENTATION = 274


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_turned_or_mirrored_slide_is_refused_with_the_command_that_turns_it(
    tmp_path: Path, orientation: int
) -> None:
    """TIFF 6.0, Orientation: readers of regions give the pixels as they are stored."""
    with pytest.raises(SlideUnsupported, match=f"turned or mirrored: {orientation}") as refused:
        facts_of(tmp_path, extratags=[(ORIENTATION, "H", 1, orientation, True)])
    assert "vips autorot" in refused.value.hint


def test_an_upright_slide_may_say_so(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, extratags=[(ORIENTATION, "H", 1, 1, True)])
    assert facts.cucim_objections == ()


def test_a_label_may_lie_on_its_side(tmp_path: Path) -> None:
    """Only levels are read."""
    path = tmp_path / "slide.tif"
    label = np.full((48, 64, 3), 90, np.uint8)
    with tifffile.TiffWriter(path) as writer:
        writer.write(flat_image(), tile=(32, 32), compression="jpeg", metadata=None)
        writer.write(label, extratags=[(ORIENTATION, "H", 1, 6, True)], metadata=None)
    assert inspect_tiff(path).cucim_objections == ()
