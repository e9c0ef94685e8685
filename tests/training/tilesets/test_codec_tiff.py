"""TIFF tiles: read whole, or dropped; as they are stored, whatever their kind."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from deepsmile_training.tilesets.codec import TileDamaged, decode
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.sources import find_images
from tests.training.tilesets.conftest import no_stage, press_in, tile_pixels

ORIENTATION = 274


def grained(seed: int) -> np.ndarray:
    """A tile that no compression makes small."""
    grain = np.random.default_rng(seed).integers(-8, 8, (224, 224, 3))
    return np.clip(tile_pixels(seed) + grain, 0, 255).astype(np.uint8)


def tiff_of(pixels: np.ndarray, photometric: str = "rgb", **options: object) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, pixels, photometric=photometric, **options)
    return file.getvalue()


def segments_of(data: bytes) -> list[tuple[int, int]]:
    """Where each strip or tile lies, and how long it is."""
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        page = tiff.pages[0]
        return list(zip(page.dataoffsets, page.databytecounts, strict=True))


def zeroed(data: bytes, *, part: float = 0.5) -> bytes:
    """With zeros from a part of its middle strip on."""
    segments = segments_of(data)
    start, length = segments[len(segments) // 2]
    at = start + int(part * length)
    size = start + length - at
    return data[:at] + bytes(size) + data[at + size :]


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw", "rowsperstrip": 32},
        {"compression": "lzw", "rowsperstrip": 32, "predictor": True},
        {"compression": "zlib", "rowsperstrip": 32},
        {"compression": "zlib", "tile": (64, 64)},
        {"compression": "packbits", "rowsperstrip": 32},
        {"compression": "zstd", "rowsperstrip": 32},
        {"compression": "jpeg", "rowsperstrip": 32},
        {"compression": "jpeg2000", "rowsperstrip": 32},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_a_tiff_with_a_damaged_strip_is_refused(options: dict[str, object]) -> None:
    """OpenCV returns an image all the same, with other pixels in that strip."""
    whole = tiff_of(grained(1), **options)
    assert np.abs(decode(whole).pixels.astype(int) - grained(1)).mean() < 4
    with pytest.raises(TileDamaged):
        decode(zeroed(whole, part=0))
    with pytest.raises(TileDamaged, match="ends early"):
        decode(whole[: segments_of(whole)[-1][0] + 9])


@pytest.mark.parametrize("kind", ["grey", "deep"])
def test_a_damaged_tiff_of_another_kind_is_refused(kind: str) -> None:
    """Those that OpenCV converts."""
    pixels = grained(2)[..., 0] if kind == "grey" else grained(2).astype(np.uint16) * 257
    whole = tiff_of(pixels, "minisblack" if kind == "grey" else "rgb", compression="lzw")
    decode(whole)
    with pytest.raises(TileDamaged):
        decode(zeroed(whole))


def test_each_flipped_byte_of_a_deflated_tiff_is_found() -> None:
    """Its checksum tells."""
    whole = tiff_of(grained(3), compression="zlib")
    ((start, length),) = segments_of(whole)
    for at in range(start, start + length, length // 40):
        flipped = bytearray(whole)
        flipped[at] ^= 1
        with pytest.raises(TileDamaged):
            decode(bytes(flipped))


def test_a_strip_that_was_never_written_is_not_made_up() -> None:
    """Of 0 bytes: sparse, and black to tifffile."""
    file = BytesIO(tiff_of(grained(4), compression="lzw", rowsperstrip=32))
    with tifffile.TiffFile(file) as tiff:
        counts = tiff.pages[0].tags["StripByteCounts"]
        counts.overwrite((0, *counts.value[1:]))
        damaged = file.getvalue()
    with pytest.raises(TileDamaged, match="ends early"):
        decode(damaged)


def test_a_tiff_that_claims_too_much_is_refused() -> None:
    file = BytesIO(tiff_of(grained(5)))
    with tifffile.TiffFile(file) as tiff:
        for side in ("ImageWidth", "ImageLength"):
            tiff.pages[0].tags[side].overwrite(65_000)
        claim = file.getvalue()
    with pytest.raises(TileDamaged, match="65000 x 65000 px, more than a tile image"):
        decode(claim)


def test_what_opencv_would_make_up_is_refused() -> None:
    """It knows no JPEG 2000 in TIFF, and returns an image of something else."""
    with pytest.raises(TileDamaged, match="compression 34712"):
        decode(tiff_of(grained(6)[..., 0], "minisblack", compression="jpeg2000"))


def test_each_kind_of_tiff_is_read_as_what_it_shows() -> None:
    """Grey, 16 bits, planes, palettes, CMYK, bits and alpha, each to the last grey level."""
    rgb, grey = grained(7), grained(7)[..., 0]
    colours = np.random.default_rng(7).integers(0, 256, (3, 256)).astype(np.uint16) * 257
    half = np.full((224, 224, 1), 128, np.uint8)
    alpha = tiff_of(np.dstack([rgb, half]), extrasamples=["assocalpha"], compression="lzw")
    planes = tiff_of(np.moveaxis(rgb, 2, 0), planarconfig="separate", compression="zlib")
    cmyk = BytesIO()
    Image.fromarray(rgb).convert("CMYK").save(cmyk, "TIFF", compression="tiff_lzw")
    assert np.array_equal(decode(planes).pixels, rgb)
    assert np.array_equal(decode(alpha).pixels, rgb)
    assert np.array_equal(decode(cmyk.getvalue()).pixels, rgb)
    assert np.array_equal(decode(tiff_of(rgb.astype(np.uint16) * 257)).pixels, rgb)
    shown = {
        "minisblack": (tiff_of(grey, "minisblack", compression="lzw"), grey),
        "miniswhite": (tiff_of(grey, "miniswhite"), 255 - grey),
        "16 bits": (tiff_of(grey.astype(np.uint16) * 257, "minisblack"), grey),
        "1 bit": (tiff_of(grey > 128, "minisblack"), (grey > 128) * np.uint8(255)),
    }
    for kind, (data, expected) in shown.items():
        assert np.array_equal(decode(data).pixels, np.dstack([expected] * 3)), kind
    palette = tiff_of(grey, "palette", colormap=colours, compression="zlib")
    assert np.array_equal(decode(palette).pixels, np.moveaxis(colours[:, grey] // 257, 0, 2))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_no_tile_is_turned(orientation: int) -> None:
    """Whatever its kind: as RGB in JPEG and PNG, which are packed as their bytes."""
    pixels, tag = grained(8), (ORIENTATION, 3, 1, orientation, True)
    grey = np.dstack([pixels[..., 0]] * 3)
    for data, expected in (
        (tiff_of(pixels, extratags=[tag]), pixels),
        (tiff_of(pixels[..., 0], "minisblack", extratags=[tag]), grey),
    ):
        assert np.array_equal(decode(data).pixels, expected)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for mode in ("RGB", "L"):
        file = BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, "JPEG", exif=exif)
        plain = cv2.imdecode(
            np.frombuffer(file.getvalue(), np.uint8),
            cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
        )
        assert np.abs(decode(file.getvalue()).pixels.astype(int) - plain).mean() < 1


def test_damaged_tiff_tiles_are_dropped_and_listed(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for number in range(4):
        whole = tiff_of(grained(number), compression="lzw", rowsperstrip=32)
        (folder / f"{number}.tif").write_bytes(zeroed(whole) if number % 2 else whole)
    store = pack(find_images([folder], None), press_in(tmp_path / "store"), no_stage)
    assert store.names.tolist() == ["0.tif", "2.tif"]
    assert np.array_equal(store[1], grained(2))
    dropped = [(one.tile, one.code) for one in store.file.dropped]
    assert dropped == [("1.tif", "tile_unreadable"), ("3.tif", "tile_unreadable")]
