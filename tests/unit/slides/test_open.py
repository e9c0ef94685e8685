"""Opening: which reader serves which file, and that it makes no difference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deepsmile.errors import SlideCorrupt, SlideError, SlideTooLarge, SlideUnsupported
from deepsmile.slides.cucim import CucimSlide
from deepsmile.slides.open import open_slide
from deepsmile.slides.openslide import OpenSlideSlide
from deepsmile.slides.slide import Slide
from deepsmile.slides.tiff import inspect_tiff
from deepsmile.tiles import TileCount, plan_tiles, read_tiles
from tests import hostile
from tests.layouts import write_philips
from tests.making import feature_contract, halved, tissue_image, write_svs, write_tiff
from tests.unit.slides.test_cucim import shrunk, write_levels


def opened(path: Path, tmp_path: Path) -> Slide:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return open_slide(path, scratch)


@pytest.mark.parametrize(
    "name", ["s.svs", "s.SVS", "s.tif", "s.TIFF", "s", "s.jpg", "s.zip", "s.dcm"]
)
def test_a_slide_is_told_by_its_content_and_read_alike_under_any_name(
    tmp_path: Path, slide_path: Path, name: str
) -> None:
    """READERS 4.6: cuCIM goes by a case-sensitive suffix; the client chose the name."""
    path = tmp_path / name
    path.write_bytes(slide_path.read_bytes())
    slide, plain = opened(path, tmp_path), opened(slide_path, tmp_path / "plain")
    assert (slide.reader, slide.format) == (plain.reader, plain.format)
    assert slide.reader.startswith("cucim")
    assert (slide.mpp, slide.levels) == (plain.mpp, plain.levels)
    for level in range(len(slide.levels)):
        region = (level, 100, 100, 200, 200)
        np.testing.assert_array_equal(slide.read(*region), plain.read(*region))


@pytest.fixture(autouse=True)
def _plain_scratch(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()


IMAGE = tissue_image(600, 500, tissue=0.8)


@pytest.mark.parametrize(
    ("options", "reader", "note"),
    [
        ({"compression": "jpeg"}, "cucim", ""),
        ({"compression": "aperio_jp2000_rgb"}, "cucim", ""),
        ({"compression": "lzw"}, "cucim", ""),
        ({"compression": "adobe_deflate"}, "cucim", ""),
        (
            {"compression": "adobe_deflate", "predictor": True},
            "openslide",
            "deflate with a predictor makes cuCIM crash",
        ),
        ({"compression": "zstd"}, "openslide", "compression 50000 is unknown to cuCIM"),
        ({"image": IMAGE.astype(np.uint16) * 257}, "openslide", "not 8-bit interleaved RGB"),
        (
            {"image": np.moveaxis(IMAGE, 2, 0).copy(), "planarconfig": "separate"},
            "openslide",
            "not 8-bit interleaved RGB",
        ),
        (
            {"image": np.dstack([IMAGE, np.full((500, 600), 255, np.uint8)]), "extrasamples": [2]},
            "openslide",
            "not 8-bit interleaved RGB",
        ),
    ],
    ids=str,
)
def test_the_same_picture_comes_out_of_every_layout(
    tmp_path: Path, options: dict[str, Any], reader: str, note: str
) -> None:
    """READERS 4.2 and 4.10: cuCIM where it is safe, OpenSlide for the rest."""
    options = {"compression": "lzw", "image": IMAGE, **options}
    path = write_levels(tmp_path / "slide.tif", [options.pop("image")], **options)
    slide = opened(path, tmp_path)
    assert (slide.reader.split()[0], slide.reader_note) == (reader, note)
    found = slide.read(0, 0, 0, 600, 500).astype(int)
    lossy = options["compression"] in ("jpeg", "aperio_jp2000_rgb")
    assert np.abs(found - IMAGE).mean() <= (3 if lossy else 0)


def test_grey_levels_become_grey_rgb(tmp_path: Path) -> None:
    path = write_levels(
        tmp_path / "slide.tif", [IMAGE[..., 0].copy()], photometric="minisblack", compression="lzw"
    )
    found = opened(path, tmp_path).read(0, 0, 0, 600, 500)
    np.testing.assert_array_equal(found, np.repeat(IMAGE[..., :1], 3, axis=2))


def test_colours_stored_as_ycbcr_without_jpeg_are_converted(tmp_path: Path) -> None:
    """cuCIM would return Y, Cb and Cr as red, green and blue."""
    ycbcr = np.full((300, 300, 3), (120, 128, 128), np.uint8)
    path = write_levels(tmp_path / "s.tif", [ycbcr], photometric="ycbcr", compression="lzw")
    found = opened(path, tmp_path).read(0, 100, 100, 50, 50)
    assert np.abs(found.astype(int) - 120).max() <= 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tile": None, "rowsperstrip": 16}, "strips"),
        ({"compression": "webp"}, "compression 50001 is unknown to cuCIM; OpenSlide refuses it"),
        ({"compression": "jpegxl"}, "OpenSlide refuses it"),
    ],
)
def test_what_nobody_reads_is_unsupported_with_the_reasons(
    tmp_path: Path, options: dict[str, Any], match: str
) -> None:
    path = tmp_path / "slide.tif"
    options = {"tile": (128, 128), "compression": "jpeg", "photometric": "rgb", **options}
    if options["tile"] is None:
        del options["tile"]
    tifffile.imwrite(path, IMAGE, metadata=None, **options)
    with pytest.raises(SlideUnsupported, match=match):
        opened(path, tmp_path)


def test_what_cucim_refuses_goes_to_openslide(tmp_path: Path) -> None:
    """Two full-resolution pages: cuCIM refuses the file, OpenSlide takes the first."""
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        for page in (IMAGE, 255 - IMAGE):
            writer.write(page, tile=(128, 128), compression="lzw", metadata=None)
    slide = opened(path, tmp_path)
    assert slide.reader.startswith("openslide")
    assert slide.reader_note.startswith("cuCIM cannot open it: ")
    np.testing.assert_array_equal(slide.read(0, 0, 0, 600, 500), IMAGE)


def test_huge_stored_tiles_are_refused_before_any_decoder(tmp_path: Path) -> None:
    """READERS 4: OpenSlide's g_malloc aborts the process on tiles of 65520 px."""
    path = write_svs(tmp_path / "slide.svs", IMAGE)
    for tag in (hostile.TILE_WIDTH, hostile.TILE_LENGTH):
        hostile.patch_tag(path, tag, 65_520)
    with pytest.raises(SlideTooLarge):
        opened(path, tmp_path)


def test_a_zip_and_a_folder_of_a_slide_are_that_slide(tmp_path: Path, slide_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "slide.svs").write_bytes(slide_path.read_bytes())
    archive = hostile.zip_of(tmp_path / "slide.zip", {"folder/slide.svs": slide_path})
    expected = opened(slide_path, tmp_path).read(0, 500, 500, 300, 300)
    for path in (tmp_path / "folder", archive):
        np.testing.assert_array_equal(opened(path, tmp_path).read(0, 500, 500, 300, 300), expected)


def test_an_mrxs_is_read_with_its_folder_and_refused_without(tmp_path: Path) -> None:
    """OpenSlide knows the format by the folder, and here gets as far as its broken index."""
    (tmp_path / "s.mrxs").write_bytes(b"\xff\xd8")
    with pytest.raises(SlideUnsupported, match="no reader knows this format") as alone:
        opened(tmp_path / "s.mrxs", tmp_path / "plain")
    assert "as the path of its folder" in alone.value.hint
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "Slidedat.ini").write_text("[GENERAL")
    with pytest.raises(SlideUnsupported, match=r"OpenSlide refuses it: .*Slidedat\.ini"):
        opened(tmp_path / "s.mrxs", tmp_path)


@pytest.mark.parametrize("compression", ["jpeg", "aperio_jp2000_rgb"])
@pytest.mark.parametrize("damage", [hostile.zero_tile, hostile.hollow_tile])
@pytest.mark.parametrize("layout", ["tiff", "aperio"])
def test_a_corrupt_tile_has_one_code_whatever_its_codec_and_reader(
    tmp_path: Path, compression: str, damage: Any, layout: str
) -> None:
    """Of a JPEG 2000 in a generic TIFF, OpenSlide would say that it is not supported."""
    text = "Aperio Image Library v12.0.15 \r\n600x500|MPP = 0.5" if layout == "aperio" else None
    options = {"compression": compression, "tile": (256, 256), "description": text}
    path = damage(write_levels(tmp_path / "slide.tif", [IMAGE], **options), 1)
    with pytest.raises(SlideCorrupt):
        opened(path, tmp_path).read(0, 0, 0, 600, 500)


def read_both(path: Path) -> tuple[CucimSlide, OpenSlideSlide]:
    mpp = inspect_tiff(path).mpp
    return CucimSlide(path, "", mpp, lambda: OpenSlideSlide(path, mpp, "")), OpenSlideSlide(
        path, mpp, ""
    )


BIG = tissue_image(2112, 1600, tissue=0.8)


@pytest.fixture(scope="module", params=["svs", "jpeg", "philips", "lzw"])
def pyramid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides whose levels have integer downsamples, in four layouts."""
    folder = tmp_path_factory.mktemp("pyramid")
    match request.param:
        case "svs":
            return write_svs(folder / "slide.svs", BIG)
        case "philips":
            return write_philips(folder / "slide.tiff", BIG, mpp=0.5, levels=4, tile=256)
    return write_tiff(folder / "slide.tif", BIG, levels=4, compression=request.param)


def test_both_readers_give_the_same_pixels(pyramid: Path) -> None:
    """READERS 4, good news: identical on JPEG; here with integer downsamples."""
    one, two = read_both(pyramid)
    assert one.levels == two.levels
    rng = np.random.default_rng(0)
    for level, size in enumerate(one.levels):
        for _ in range(10):
            x, y = int(rng.integers(-50, size.width)), int(rng.integers(-50, size.height))
            region = (level, x, y, 180, 120)
            np.testing.assert_array_equal(one.read(*region), two.read(*region))


def test_both_readers_give_the_same_plan_and_the_same_tiles(pyramid: Path) -> None:
    """Positions, glass, candidates and pixels: a score does not depend on what is installed."""
    contract = feature_contract()
    plans = [plan_tiles(slide, contract, None) for slide in read_both(pyramid)]
    assert plans[0].cutter == plans[1].cutter
    assert plans[0].tissue.glass_grey == plans[1].tissue.glass_grey
    np.testing.assert_array_equal(plans[0].candidates, plans[1].candidates)
    np.testing.assert_array_equal(plans[0].overview.image, plans[1].overview.image)
    tiles = [
        np.concatenate(
            [batch.pixels for batch in read_tiles(slide, plan, contract, 4, TileCount())]
        )
        for slide, plan in zip(read_both(pyramid), plans, strict=True)
    ]
    assert len(tiles[0]) > 3
    np.testing.assert_array_equal(tiles[0], tiles[1])


def test_where_levels_are_no_integers_the_plan_is_still_the_same(tmp_path: Path) -> None:
    """docs/decisions.md: OpenSlide interpolates there; pixels differ a little, plans do not."""
    image = tissue_image(1333, 1201, tissue=0.8)
    levels = [image, halved(image[:1200, :1332], 1)]
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    path = write_levels(tmp_path / "slide.tif", levels, compression="jpeg", **resolution)
    plans = [plan_tiles(slide, feature_contract(), None) for slide in read_both(path)]
    assert plans[0].cutter == plans[1].cutter
    assert plans[0].cutter.level == 1
    np.testing.assert_array_equal(plans[0].candidates, plans[1].candidates)


def test_a_philips_slide_s_padded_levels_are_in_their_true_places(tmp_path: Path) -> None:
    """Levels are padded to whole tiles, so that their sides are no guide to their scale."""
    image = tissue_image(1400, 1150, tissue=0.8)
    path = write_philips(tmp_path / "slide.tiff", image, mpp=0.25, levels=4)
    slide = opened(path, tmp_path)
    assert (slide.format, slide.mpp and slide.mpp.x) == ("philips", pytest.approx(0.25))
    for level in range(1, len(slide.levels)):
        expected = halved(image, level)
        height, width = expected.shape[:2]
        found = slide.read(level, 0, 0, width, height).astype(int)
        assert np.abs(found - expected).mean() < 3
    plan = plan_tiles(slide, feature_contract(), None)
    assert plan.cutter.downsample == pytest.approx((4, 4))


def test_a_label_page_never_becomes_a_tile(tmp_path: Path) -> None:
    """A dark, tiled page behind the slide: both readers list it as a level."""
    path = tmp_path / "slide.tif"
    label = np.zeros((300, 512, 3), np.uint8)
    options = {"tile": (128, 128), "compression": "jpeg", "metadata": None}
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(BIG, **options, **resolution)
        writer.write(label, subfiletype=1, **options)
    slide = opened(path, tmp_path)
    assert len(slide.levels) == 2
    plan = plan_tiles(slide, feature_contract(), None)
    assert plan.cutter.level == 0
    assert plan.overview.image.min() > 20


@pytest.mark.parametrize("size", [0, 3, 8, 100, 1000, 20_000])
def test_a_file_cut_short_is_a_slide_error(tmp_path: Path, slide_path: Path, size: int) -> None:
    path = tmp_path / "slide.svs"
    path.write_bytes(slide_path.read_bytes()[:size])
    with pytest.raises(SlideError):
        opened(path, tmp_path)


def test_shrinking_by_three_is_no_power_of_two(tmp_path: Path) -> None:
    """A pyramid of thirds is read like any other."""
    levels = [BIG[:1599, :2112], shrunk(BIG, 704, 533)]
    path = write_levels(tmp_path / "slide.tif", levels, compression="lzw")
    slide = opened(path, tmp_path)
    np.testing.assert_array_equal(slide.read(1, 300, 200, 100, 100), levels[1][200:300, 300:400])
