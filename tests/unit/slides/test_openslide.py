"""OpenSlide: the reader for the rest, with the same promises."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deepsmile.errors import SlideCorrupt, SlideUnsupported
from deepsmile.slides.openslide import OpenSlideSlide
from deepsmile.slides.slide import Level, Mpp
from tests import hostile
from tests.making import tissue_image, write_svs, write_tiff
from tests.unit.slides.test_cucim import assert_same_pixels, shrunk, write_levels

MPP = Mpp(0.5, 0.5, "test")


def openslide(path: Path, mpp: Mpp | None = MPP) -> OpenSlideSlide:
    return OpenSlideSlide(path, mpp, "why")


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "jpeg"},
        {"compression": "lzw"},
        {"compression": "adobe_deflate", "predictor": True},
        {"compression": "zstd"},
        {"compression": None},
    ],
    ids=str,
)
def test_every_pixel_is_the_stored_one_and_white_lies_outside(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """READERS 4.2: deflate with a predictor, which kills cuCIM, is read here; 4.9: white."""
    image = tissue_image(700, 500)
    path = write_levels(tmp_path / "s.tif", [image, image[::2, ::2], image[::4, ::4]], **options)
    slide = openslide(path)
    assert slide.levels == (Level(700, 500), Level(350, 250), Level(175, 125))
    for level in range(3):
        assert_same_pixels(slide, path, level)


def test_on_a_level_of_no_integer_downsample_positions_hold_and_pixels_nearly(
    tmp_path: Path,
) -> None:
    """docs/decisions.md: it interpolates there; smooth content moves by less than half a pixel."""
    ramp = np.add.outer(np.arange(400) * 0.2, np.arange(666) * 0.2)[..., None]
    level = np.repeat(ramp, 3, axis=2).astype(np.uint8)
    base = np.zeros((801, 1333, 3), np.uint8)
    path = write_levels(tmp_path / "slide.tif", [base, level], compression="lzw")
    slide = openslide(path)
    for x, y in [(0, 0), (100, 57), (433, 199), (601, 333)]:
        found = slide.read(1, x, y, 60, 60).astype(int)
        assert np.abs(found - level[y : y + 60, x : x + 60])[:-1, :-1].max() <= 1


@pytest.mark.parametrize("damage", [hostile.zero_tile, hostile.hollow_tile])
@pytest.mark.parametrize("compression", ["jpeg", "lzw", "adobe_deflate"])
def test_a_corrupt_tile_is_an_error(tmp_path: Path, damage: Any, compression: str) -> None:
    path = write_levels(tmp_path / "s.tif", [tissue_image(600, 600)], compression=compression)
    slide = openslide(damage(path, 12))
    with pytest.raises(SlideCorrupt, match="a tile of level 0 cannot be decoded"):
        slide.read(0, 0, 0, 600, 600)


@pytest.mark.parametrize("compression", ["jpeg", "lzw"])
def test_a_missing_tile_is_white(tmp_path: Path, compression: str) -> None:
    """docs/decisions.md: white for missing tiles; cuCIM would read black."""
    path = write_levels(tmp_path / "s.tif", [tissue_image(600, 600)], compression=compression)
    whole = tifffile.imread(path)
    slide = openslide(hostile.drop_tile(path, 12))
    expected = whole.copy()
    expected[256:384, 256:384] = 255
    np.testing.assert_array_equal(slide.read(0, 0, 0, 600, 600), expected)


def test_a_missing_tile_of_an_aperio_slide_is_white_on_the_finest_level(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "slide.svs", tissue_image(600, 600), levels=1)
    whole = tifffile.imread(path, key=0)
    slide = openslide(hostile.drop_tile(path, 4))
    found = slide.read(0, 0, 0, 600, 600)
    assert found[260:500, 260:500].min() == 255
    np.testing.assert_array_equal(found[:250], whole[:250])


def test_transparency_is_composited_on_white(tmp_path: Path) -> None:
    """RGB * alpha + 255 * (1 - alpha), rounded; half transparent 100 is 178."""
    rgba = np.full((64, 64, 4), 100, np.uint8)
    rgba[:, :32, 3], rgba[:, 32:, 3] = 255, 0
    path = write_levels(
        tmp_path / "slide.tif", [rgba], compression="lzw", extrasamples=["unassalpha"]
    )
    found = openslide(path).read(0, 0, 0, 64, 64)
    assert found[:, :32].tolist() == np.full((64, 32, 3), 100).tolist()
    assert found[:, 32:].tolist() == np.full((64, 32, 3), 255).tolist()


def test_the_mpp_of_the_preflight_goes_before_its_own(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", tissue_image(300, 300), mpp=0.25)
    assert openslide(path).mpp == MPP
    own = openslide(path, None).mpp
    assert own is not None
    assert (own.x, own.y, own.source) == (pytest.approx(0.25), pytest.approx(0.25), "openslide")


@pytest.mark.parametrize("text", ["", "abc", "nan"])
def test_no_mpp_is_none(tmp_path: Path, text: str) -> None:
    """READERS 4.7: OpenSlide drops what is no number."""
    assert openslide(write_svs(tmp_path / "s.svs", tissue_image(300, 300), text), None).mpp is None


def test_its_names_are_told(slide_path: Path) -> None:
    slide = openslide(slide_path)
    assert slide.reader.startswith("openslide 4.")
    assert (slide.reader_note, slide.format) == ("why", "aperio")
    slide.close()


@pytest.mark.parametrize("text", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0\0\0"])
def test_what_it_does_not_know_is_unsupported(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "slide").write_bytes(text)
    with pytest.raises(SlideUnsupported, match="why; "):
        openslide(tmp_path / "slide")


def test_a_codec_that_it_lacks_is_named(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "slide.tif", [tissue_image(64, 64)], compression="webp")
    with pytest.raises(SlideUnsupported, match=r"why; OpenSlide refuses it: .*compression: 50001"):
        openslide(path)


def test_the_shrinking_used_above_keeps_the_corners() -> None:
    image = tissue_image(100, 80)
    assert shrunk(image, 50, 40)[0, 0].tolist() == image[0, 0].tolist()
