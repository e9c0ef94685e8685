"""cuCIM: exact pixels, and never a pixel of a tile that it could not decode."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from deepsmile.errors import SlideCorrupt, SlideUnsupported
from deepsmile.slides.cucim import CucimSlide
from deepsmile.slides.openslide import OpenSlideSlide
from deepsmile.slides.slide import Level, Mpp, Slide
from tests import hostile
from tests.layouts import write_page
from tests.making import tissue_image, write_tiff
from tests.memory_slide import MemorySlide

Image = NDArray[np.uint8]
MPP = Mpp(0.5, 0.5, "test")
EXACT = [
    {"compression": "jpeg"},
    {"compression": "jpeg", "subsampling": (2, 1)},
    {"compression": "lzw"},
    {"compression": "lzw", "predictor": True},
    {"compression": "adobe_deflate"},
    {"compression": None},
    {"compression": "jpeg", "byteorder": ">"},
]


def nobody() -> Slide:
    """A second opinion that must not be asked for."""
    raise AssertionError("cuCIM had no reason to doubt")


def cucim(path: Path, second: Callable[[], Slide] = nobody) -> CucimSlide:
    return CucimSlide(path, "tiff", MPP, second)


def write_levels(path: Path, levels: list[Image], byteorder: Any = None, **options: Any) -> Path:
    options = {"tile": (128, 128), "photometric": "rgb", "metadata": None, **options}
    with tifffile.TiffWriter(path, byteorder=byteorder) as writer:
        for index, level in enumerate(levels):
            writer.write(level, subfiletype=int(index > 0), **options)
    return path


def stored(path: Path, level: int) -> Image:
    """A level as tifffile and imagecodecs decode it, (h, w, 3)."""
    decoded: Image = tifffile.imread(path, key=level)
    return decoded


def shrunk(image: Image, width: int, height: int) -> Image:
    """Any image of that size; what it shows does not matter."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return image[rows][:, columns]


def assert_same_pixels(slide: Slide, path: Path, level: int, seed: int = 0) -> None:
    """Random regions, some of them reaching outside, against the decoded page."""
    whole = stored(path, level)
    height, width = whole.shape[:2]
    canvas = np.full((height + 700, width + 700, 3), 255, np.uint8)
    canvas[300 : 300 + height, 300 : 300 + width] = whole
    rng = np.random.default_rng(seed)
    for _ in range(25):
        w, h = int(rng.integers(1, 200)), int(rng.integers(1, 200))
        x, y = int(rng.integers(-100, width + 50)), int(rng.integers(-100, height + 50))
        expected = canvas[y + 300 : y + 300 + h, x + 300 : x + 300 + w]
        np.testing.assert_array_equal(slide.read(level, x, y, w, h), expected)


@pytest.mark.parametrize("options", EXACT, ids=str)
def test_every_pixel_is_the_stored_one_and_white_lies_outside(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """READERS 4, good news: identical to the decoded page; 4.9: white is filled in by us."""
    image = tissue_image(700, 500)
    path = write_levels(tmp_path / "s.tif", [image, image[::2, ::2], image[::4, ::4]], **options)
    slide = cucim(path)
    assert slide.levels == (Level(700, 500), Level(350, 250), Level(175, 125))
    for level in range(3):
        assert_same_pixels(slide, path, level)


def test_jpeg_2000_differs_by_one_grey_at_most(tmp_path: Path) -> None:
    image = tissue_image(300, 300)
    path = write_levels(tmp_path / "s.tif", [image], compression="aperio_jp2000_rgb")
    found = cucim(path).read(0, 0, 0, 300, 300)
    assert np.abs(found.astype(int) - stored(path, 0)).max() <= 1


@pytest.mark.parametrize(
    ("width", "height"), [(1333, 1001), (1201, 799), (1023, 511), (1111, 1000), (645, 1290)]
)
def test_levels_of_no_integer_downsample_are_exact_too(
    tmp_path: Path, width: int, height: int
) -> None:
    """READERS 4.8: cuCIM truncates x0 / downsample; the ceiling of k * downsample is pixel k."""
    image = tissue_image(width, height)
    levels = [image, *(shrunk(image, width // d, height // d) for d in (2, 4, 16))]
    path = write_levels(tmp_path / "slide.tif", levels, compression="lzw")
    slide = cucim(path)
    assert slide.levels[1] == Level(width // 2, height // 2)
    for level in range(4):
        assert_same_pixels(slide, path, level)


def test_two_reads_do_not_share_their_memory(slide_path: Path) -> None:
    """The second region must not appear in the first one's array."""
    slide = cucim(slide_path)
    first = slide.read(0, 800, 600, 300, 300)
    kept = first.copy()
    for x in range(0, 900, 100):
        slide.read(0, x, 0, 300, 300)
    np.testing.assert_array_equal(first, kept)


def ends_early(path: Path, index: int) -> Path:
    """Put an end marker into the middle of a tile's scan and zeros behind it."""
    offset, size = hostile.tile_range(path, index)
    hostile.overwrite(path, offset + size // 2, b"\xff\xd9" + bytes(size - size // 2 - 4))
    return path


@pytest.mark.parametrize("damage", [hostile.zero_tile, hostile.hollow_tile, ends_early])
def test_a_corrupt_jpeg_tile_is_an_error_and_never_stale_memory(
    tmp_path: Path, damage: Callable[[Path, int], Path]
) -> None:
    """READERS 4.3: cuCIM raises nothing, prints, and returns what lay in memory."""
    image = tissue_image(1000, 800, tissue=0.9)
    path = damage(write_levels(tmp_path / "slide.tif", [image], compression="jpeg"), 26)
    slide = cucim(path, lambda: OpenSlideSlide(path, MPP, "second opinion"))
    assert slide.read(0, 0, 0, 256, 800).std() > 1
    for _ in range(3):
        with pytest.raises(SlideCorrupt):
            slide.read(0, 200, 300, 300, 300)
    assert slide.reader_note.startswith("cuCIM failed on a tile: ERROR")


@pytest.mark.parametrize("damage", [hostile.zero_tile, hostile.hollow_tile])
def test_a_corrupt_jpeg_2000_tile_is_an_error(
    tmp_path: Path, damage: Callable[[Path, int], Path]
) -> None:
    """READERS 4.4: one location at a time, cuCIM raises; in a generic TIFF nobody else can."""
    image = tissue_image(300, 300)
    path = write_levels(tmp_path / "slide.tif", [image], compression="aperio_jp2000_rgb")
    slide = cucim(damage(path, 4), lambda: OpenSlideSlide(path, MPP, "second opinion"))
    slide.read(0, 0, 0, 128, 128)
    with pytest.raises(SlideCorrupt, match="cuCIM failed on a tile: ERROR"):
        slide.read(0, 100, 100, 100, 100)


def zeros_follow(path: Path, index: int) -> Path:
    """Legal codes of no coefficients; what was meant for later lines is skipped."""
    offset, size = hostile.tile_range(path, index)
    hostile.overwrite(path, offset + size // 2, bytes(size - size // 2 - 2))
    return path


def one_byte(path: Path, index: int) -> Path:
    """The scan loses step and ends early or late."""
    offset, size = hostile.tile_range(path, index)
    hostile.overwrite(path, offset + size // 2, b"\x55")
    return path


@pytest.mark.parametrize("damage", [zeros_follow, one_byte])
def test_a_jpeg_tile_that_can_be_decoded_but_not_meant_is_an_error(
    tmp_path: Path, damage: Callable[[Path, int], Path]
) -> None:
    """docs/decisions.md: OpenSlide takes it for good; libjpeg below cuCIM says "Corrupt"."""
    image = tissue_image(1000, 800, tissue=0.9)
    path = write_levels(tmp_path / "slide.tif", [image], compression="jpeg")
    slide = cucim(damage(path, 26))
    assert np.abs(OpenSlideSlide(path, MPP, "").read(0, 0, 0, 256, 800).astype(int)).std() > 1
    for _ in range(3):
        with pytest.raises(SlideCorrupt, match="Corrupt JPEG data"):
            slide.read(0, 0, 0, 1000, 800)
    assert "Corrupt JPEG data" in slide.reader_note


@pytest.mark.parametrize("compression", ["lzw", "adobe_deflate"])
def test_a_corrupt_lossless_tile_is_an_error(tmp_path: Path, compression: str) -> None:
    """READERS 4.3: LZW gives partial data."""
    path = write_levels(tmp_path / "s.tif", [tissue_image(600, 600)], compression=compression)
    hostile.hollow_tile(path, 12)
    slide = cucim(path, lambda: OpenSlideSlide(path, MPP, "second opinion"))
    with pytest.raises(SlideCorrupt):
        slide.read(0, 0, 0, 600, 600)


def test_a_deflated_tile_of_too_many_pixels_is_an_error(tmp_path: Path) -> None:
    """OpenSlide takes the first of them, whatever they are."""
    path = write_levels(tmp_path / "s.tif", [tissue_image(600, 600)], compression="adobe_deflate")
    offset, _ = hostile.tile_range(path, 12)
    hostile.overwrite(path, offset, zlib.compress(bytes(2 * 128 * 128 * 3)))
    assert OpenSlideSlide(path, MPP, "").read(0, 256, 256, 128, 128).max() == 0
    with pytest.raises(SlideCorrupt, match="decompression failed"):
        cucim(path).read(0, 0, 0, 600, 600)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """500 x 400 px, one level, its ninth tile undecodable."""
    path = write_levels(tmp_path / "s.tif", [tissue_image(500, 400)], compression="jpeg")
    return hostile.hollow_tile(path, 9)


def test_in_doubt_the_other_reader_has_the_last_word(damaged: Path) -> None:
    """And goes on reading: cuCIM is not asked again."""
    other = MemorySlide([np.full((400, 500, 3), 7, np.uint8)])
    slide = cucim(damaged, lambda: other)
    assert slide.read(0, 0, 0, 500, 400).max() == 7
    assert slide.read(0, 0, 0, 10, 10).max() == 7
    assert other.reads == [(0, 0, 0, 500, 400), (0, 0, 0, 10, 10)]


def test_another_reader_that_sees_other_levels_is_no_second_opinion(damaged: Path) -> None:
    """Level 1 of one would be level 2 of the other: other pixels under the same coordinates."""
    other = MemorySlide([np.zeros((400, 500, 3), np.uint8), np.zeros((100, 125, 3), np.uint8)])
    with pytest.raises(SlideCorrupt, match="cuCIM failed on a tile"):
        cucim(damaged, lambda: other).read(0, 0, 0, 500, 400)


def test_a_slide_that_nobody_else_can_open_is_corrupt_where_cucim_fails(damaged: Path) -> None:
    def refuses() -> Slide:
        raise SlideUnsupported("OpenSlide refuses it")

    with pytest.raises(SlideCorrupt, match="cuCIM failed on a tile: ERROR"):
        cucim(damaged, refuses).read(0, 0, 0, 500, 400)


@pytest.mark.parametrize("stream", [1, 2])
def test_what_others_print_during_a_read_is_still_printed_afterwards(
    slide_path: Path, capfd: pytest.CaptureFixture[str], stream: int
) -> None:
    """Both streams are watched around a read and given back."""
    os.write(stream, b"before\n")
    cucim(slide_path).read(0, 0, 0, 10, 10)
    os.write(stream, b"after\n")
    assert capfd.readouterr()[stream - 1] == "before\nafter\n"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_reading_leaves_no_file_open(slide_path: Path) -> None:
    slide = cucim(slide_path)
    slide.read(0, 0, 0, 10, 10)
    before = open_files()
    for _ in range(20):
        slide.read(0, 0, 0, 10, 10)
    assert open_files() == before


def test_what_cucim_cannot_open_is_unsupported_by_it(tmp_path: Path) -> None:
    """Two full-resolution pages: cuCIM refuses, OpenSlide takes the first."""
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(2):
            writer.write(tissue_image(100, 100), tile=(64, 64), compression="jpeg", metadata=None)
    with pytest.raises(SlideUnsupported, match="cuCIM cannot open it"):
        cucim(path)


def test_its_names_are_told(tmp_path: Path) -> None:
    slide = cucim(write_page(tmp_path / "slide.tif"))
    assert (slide.reader, slide.reader_note) == ("cucim 26.10.00", "")
    assert (slide.format, slide.mpp) == ("tiff", MPP)
    slide.close()


def test_levels_written_out_of_order_come_finest_first(tmp_path: Path) -> None:
    image = tissue_image(512, 512)
    levels = [image, shrunk(image, 128, 128), shrunk(image, 256, 256)]
    path = write_levels(tmp_path / "slide.tif", levels, compression="lzw")
    slide = cucim(path)
    assert [level.width for level in slide.levels] == [512, 256, 128]
    np.testing.assert_array_equal(slide.read(1, 0, 0, 256, 256), levels[2])


def test_a_pyramid_of_the_fixtures_opens_without_complaint(tmp_path: Path) -> None:
    slide = cucim(write_tiff(tmp_path / "slide.tif", tissue_image(600, 400)))
    assert len(slide.levels) == 3
    assert slide.read(2, -10, -10, 50, 50)[0, 0].tolist() == [255, 255, 255]
