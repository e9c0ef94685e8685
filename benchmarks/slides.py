"""Slides large enough to time: JPEG pyramids at 0.25 um per px, painted once and kept.

A patch of synthetic tissue is laid out over the slide block by block, cropped, turned and
mirrored at random, with bare glass around it. Stored tiles of tissue have about 15 KB, as real
ones at 40x do; the texture repeats, which no decoder or encoder can notice.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from deepsmile.digest import digest_of, digest_of_file
from deepsmile_training.demo.cohort import recipe_digest
from deepsmile_training.synthetic.anatomy import draw_anatomy
from deepsmile_training.synthetic.fields import smooth_field
from deepsmile_training.synthetic.nuclei import draw_nuclei
from deepsmile_training.synthetic.painting import RGB, paint
from deepsmile_training.synthetic.scanner import scan
from deepsmile_training.synthetic.specimen import SlideSpec, draw_spec

FOLDER = Path("deepsmile-data/benchmarks")
SIDES_PX = (30_720, 12_288)
"""900 and 144 tiles of 256 um."""
MPP, UM_PER_CM = 0.25, 10_000.0
DOWNSAMPLES = (1, 4, 16)
TISSUE_SHARE = 0.4
QUALITY = 84
STORED_PX = 256
"""Side of a stored tile."""
BLOCK_PX = 1024
MASK_PX = 16
"""Side of a pixel of the map of tissue."""
PATCH_PX = 3072
PAINTED_PX = 2
"""The painter's px are enlarged by this, so its numbers are for twice the size of this slide."""
GLASS_GREY, GLASS_NOISE, TISSUE_NOISE = 244.0, 1.2, 4.0


def benchmark_slide(side_px: int = SIDES_PX[0], folder: Path = FOLDER) -> Path:
    """A square slide, its side a multiple of `BLOCK_PX`; made in a minute if not there yet."""
    assert side_px % BLOCK_PX == 0
    recipe = [recipe_digest([specimen()]), digest_of_file(Path(__file__)), side_px]
    path = folder / f"{side_px}-{digest_of(recipe)[:12]}.tif"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        write_slide(partial, side_px)
        partial.replace(path)
    return path


def add_slide(parser: argparse.ArgumentParser) -> None:
    """The arguments that `slide_of` heeds."""
    parser.add_argument("slide", type=Path, nargs="?", help="one of yours; else one is painted")
    parser.add_argument("--side", type=int, choices=SIDES_PX, default=SIDES_PX[0], help="of that")


def slide_of(options: argparse.Namespace) -> Path:
    """The slide that was asked for."""
    return (options.slide or benchmark_slide(options.side)).absolute()


def specimen() -> SlideSpec:
    """Cellular tissue, 4,900 nuclei of 9 um per mm2, large enough to cut the patch from."""
    return replace(
        draw_spec(0, heterogeneous=True, cellular=True),
        mean_um=9.0 * PAINTED_PX,
        per_mm2=4900.0 / PAINTED_PX**2,
        tissue_tiles=80.0,
        fragments=1,
        haematoxylin=1.2,
        eosin=1.2,
        glass_grey=GLASS_GREY,
        noise=TISSUE_NOISE,
        mpp=1 / PAINTED_PX,
    )


def tissue_patch() -> RGB:
    """(PATCH_PX, PATCH_PX, 3) from the middle of the specimen, tissue all over."""
    spec = specimen()
    anatomy = draw_anatomy(spec)
    light = paint(spec, anatomy, draw_nuclei(spec, anatomy))  # (h, w, 3)
    side = PATCH_PX // PAINTED_PX
    top, left = (light.shape[0] - side) // 2, (light.shape[1] - side) // 2
    return scan(spec, light[top : top + side, left : left + side])


def tissue_map(rng: np.random.Generator, side_px: int) -> NDArray[np.uint8]:
    """255 where there is tissue, else 0: blobs away from the border, one px per `MASK_PX`."""
    side = side_px // MASK_PX
    wish = smooth_field(rng, (side, side), side / 3) + 0.2 * smooth_field(rng, (side, side), 25)
    offset = np.abs(np.linspace(-1, 1, side, dtype=np.float32))  # (side,)
    wish = wish - 9 * np.maximum(offset[:, None], offset) ** 8  # (side, side)
    return np.where(wish > np.quantile(wish, 1 - TISSUE_SHARE), 255, 0).astype(np.uint8)


def bands(side_px: int) -> Iterator[RGB]:
    """The slide from top to bottom, (BLOCK_PX, side_px, 3) at a time."""
    rng = np.random.default_rng(side_px)
    patch, tissue = tissue_patch(), tissue_map(rng, side_px)
    bare = rng.normal(GLASS_GREY, GLASS_NOISE, (BLOCK_PX, BLOCK_PX, 1))  # (b, b, 1)
    glass = np.repeat(bare.astype(np.uint8), 3, axis=2)  # (b, b, 3)
    step = BLOCK_PX // MASK_PX
    for row in range(0, len(tissue), step):
        places = (tissue[row : row + step, x : x + step] for x in range(0, len(tissue), step))
        yield np.concatenate([_block(rng, patch, glass, place) for place in places], axis=1)


def _block(rng: np.random.Generator, patch: RGB, glass: RGB, place: NDArray[np.uint8]) -> RGB:
    """Tissue where `place` (b / MASK_PX, b / MASK_PX) says so, glass elsewhere, (b, b, 3)."""
    if not place.any():
        return glass
    y, x = rng.integers(0, PATCH_PX - BLOCK_PX, 2)
    crop = np.rot90(patch[y : y + BLOCK_PX, x : x + BLOCK_PX], rng.integers(4))  # (b, b, 3)
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop  # (b, b, 3)
    there = cv2.resize(place, (BLOCK_PX, BLOCK_PX), interpolation=cv2.INTER_LINEAR)  # (b, b)
    return np.where((there > 127)[..., None], crop, glass)


def write_slide(path: Path, side_px: int) -> None:
    """Paint and write level by level; the fine one is never held whole."""
    coarser: list[list[RGB]] = [[] for _ in DOWNSAMPLES[1:]]

    def finest() -> Iterator[RGB]:
        for band in bands(side_px):
            for parts, downsample in zip(coarser, DOWNSAMPLES[1:], strict=True):
                parts.append(_shrunk(band, downsample))
            yield from _stored_tiles(band)

    with tifffile.TiffWriter(path) as writer:
        _write_level(writer, finest(), side_px, 1)
        for parts, downsample in zip(coarser, DOWNSAMPLES[1:], strict=True):
            _write_level(writer, np.concatenate(parts), side_px // downsample, downsample)


def _write_level(
    writer: tifffile.TiffWriter, data: RGB | Iterator[RGB], side_px: int, downsample: int
) -> None:
    per_cm = UM_PER_CM / MPP / downsample
    writer.write(
        data,
        shape=(side_px, side_px, 3),
        dtype=np.uint8,
        tile=(STORED_PX, STORED_PX),
        compression="jpeg",
        compressionargs={"level": QUALITY},
        subsampling=(2, 1),
        photometric="rgb",
        subfiletype=int(downsample > 1),
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
        metadata=None,
    )


def _stored_tiles(band: RGB) -> Iterator[RGB]:
    for y in range(0, len(band), STORED_PX):
        for x in range(0, band.shape[1], STORED_PX):
            yield band[y : y + STORED_PX, x : x + STORED_PX]


def _shrunk(band: RGB, downsample: int) -> RGB:
    size = (band.shape[1] // downsample, band.shape[0] // downsample)
    return cv2.resize(band, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
