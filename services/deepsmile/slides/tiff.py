"""TIFF: what its tables say, checked before any decoder sees it, and its microns per pixel.

cuCIM kills the process on some files, valid ones among them, and returns stale memory for
others. Every file that was seen to do so fails a check below (docs/decisions.md).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil, isfinite
from os import SEEK_CUR
from pathlib import Path
from struct import error as StructError
from struct import unpack
from xml.etree import ElementTree

import tifffile
from tifffile import TiffFile, TiffPage

from deepsmile.errors import SlideCorrupt, SlideTooLarge, SlideTruncated, SlideUnsupported
from deepsmile.slides.slide import Mpp

MAX_SIDE_PX = 2_000_000
MAX_PAGES = 512
TILE_SIDES_PX = range(16, 4097)
MAX_TILES = 20_000_000
SAMPLED_TILES = 64
UM_PER_INCH, UM_PER_CM = 25_400.0, 10_000.0

JPEG, NONE, LZW = 7, 1, 5
DEFLATE = {8, 32946}
JPEG_2000 = {33003, 33005}
CUCIM_CODECS = {NONE, JPEG, LZW} | DEFLATE | JPEG_2000
RGB, YCBCR = 2, 6
ORIENTATION, UPRIGHT = 274, 1
TURN = "Turn it upright: `vips autorot IN 'OUT.tif[tile,pyramid,compression=jpeg]'`."
UNSOUND = "a tile without its start or end marker"
MARKERS = {JPEG: (b"\xff\xd8", b"\xff\xd9")} | dict.fromkeys(JPEG_2000, (b"\xffO", b"\xff\xd9"))


@dataclass(frozen=True)
class TiffFacts:
    """What the preflight learned."""

    format: str
    mpp: Mpp | None
    cucim_objections: tuple[str, ...]
    """Why cuCIM must not open it; empty when it may."""


def inspect_tiff(path: Path) -> TiffFacts:
    """Read the tables of a TIFF slide; decode nothing.

    Raises:
        SlideUnsupported: not a TIFF after all, or no page of it is tiled.
        SlideTruncated, SlideCorrupt, SlideTooLarge: as their names say.
    """
    try:
        with TiffFile(path) as tiff:
            return _inspect(tiff)
    except tifffile.TiffFileError as error:
        raise SlideUnsupported(f"not a readable TIFF: {error}") from error
    except (StructError, ValueError, IndexError, KeyError, TypeError, OSError) as error:
        raise SlideCorrupt(f"the TIFF tables cannot be read: {error!r}") from error


def _inspect(tiff: TiffFile) -> TiffFacts:
    pages = [page for page in islice(tiff.pages, MAX_PAGES) if isinstance(page, TiffPage)]
    if not pages:
        raise SlideTruncated("the file ends before its first image")
    _check_chain(tiff, pages[-1])
    vendor = _other_vendor(tiff)
    if vendor:
        _check_orientation(pages[0])
        _check_ranges(tiff, pages)
        return TiffFacts(vendor, None, (f"{vendor} is read by OpenSlide only",))
    levels = [page for page in pages if page.is_tiled]
    if not levels:
        raise SlideUnsupported("the TIFF is stored in strips, not in tiles")
    if levels[0] is not pages[0]:
        raise SlideUnsupported("the first image of the TIFF is not tiled")
    for page in levels:
        _check_orientation(page)
        _check_size(page)
    _check_ranges(tiff, levels)
    objections = [text for page in levels for text in _objections(page)]
    return TiffFacts(_format(tiff), _mpp(tiff, pages[0]), tuple(dict.fromkeys(objections)))


def _other_vendor(tiff: TiffFile) -> str:
    """Layouts in TIFF clothes that only OpenSlide understands."""
    for vendor in ("ndpi", "scn", "bif", "qpi"):
        if getattr(tiff, f"is_{vendor}"):
            return vendor
    return ""


def _format(tiff: TiffFile) -> str:
    if tiff.is_svs:
        return "aperio"
    if tiff.is_philips:
        return "philips"
    return "ome-tiff" if tiff.is_ome else "tiff"


def _check_orientation(page: TiffPage) -> None:
    """TIFF 6.0 tag 274: 1, or none, is upright; readers of regions do not turn the others."""
    orientation = page.tags.valueof(ORIENTATION, default=UPRIGHT)
    if orientation != UPRIGHT:
        raise SlideUnsupported(f"the TIFF is stored turned or mirrored: {orientation}", hint=TURN)


def _check_size(page: TiffPage) -> None:
    if page.imagewidth < 1 or page.imagelength < 1:
        raise SlideCorrupt(f"a level is {page.imagewidth} x {page.imagelength} px")
    if max(page.imagewidth, page.imagelength) > MAX_SIDE_PX:
        raise SlideTooLarge(f"a level is {page.imagewidth} x {page.imagelength} px")
    if page.tilewidth not in TILE_SIDES_PX or page.tilelength not in TILE_SIDES_PX:
        raise SlideTooLarge(f"stored tiles are {page.tilewidth} x {page.tilelength} px")
    across, down = ceil(page.imagewidth / page.tilewidth), ceil(page.imagelength / page.tilelength)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    expected = across * down * planes
    if expected > MAX_TILES:
        raise SlideTooLarge(f"a level has {expected} stored tiles")
    if len(page.dataoffsets) != expected or len(page.databytecounts) != expected:
        found = f"{len(page.dataoffsets)} offsets, {len(page.databytecounts)} sizes"
        raise SlideCorrupt(f"a level of {across} x {down} tiles lists {found}")


def _check_chain(tiff: TiffFile, last: TiffPage) -> None:
    """What follows the last page is nothing (0), unless the file breaks off before it."""
    handle, layout = tiff.filehandle, tiff.tiff
    handle.seek(last.offset)
    (tags,) = unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(tags * layout.tagsize, SEEK_CUR)
    (following,) = unpack(layout.offsetformat, handle.read(layout.offsetsize))
    if following >= handle.size:
        raise SlideTruncated(f"a page starts at byte {following}, the file ends at {handle.size}")


def _check_ranges(tiff: TiffFile, pages: list[TiffPage]) -> None:
    size = tiff.filehandle.size
    for page in pages:
        ends = (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
        end = max(ends, default=0)
        if end > size:
            raise SlideTruncated(f"a tile ends at byte {end}, the file at byte {size}")


def _objections(page: TiffPage) -> Iterator[str]:
    codec = int(page.compression)
    if codec not in CUCIM_CODECS:
        yield f"compression {codec} is unknown to cuCIM"
    if codec in DEFLATE and page.predictor != 1:
        yield "deflate with a predictor makes cuCIM crash"
    if page.samplesperpixel != 3 or page.bitspersample != 8 or page.planarconfig != 1:
        yield "not 8-bit interleaved RGB"
    if page.photometric != RGB and (page.photometric != YCBCR or codec not in MARKERS):
        yield "colours that cuCIM takes for RGB"
    if min(page.databytecounts) == 0:
        yield "missing tiles, which cuCIM reads as black"
    if codec in MARKERS and not _markers_are_sound(page, *MARKERS[codec]):
        yield UNSOUND


def _markers_are_sound(page: TiffPage, start: bytes, end: bytes) -> bool:
    """Whether a sample of the tiles begins and ends as its codec demands."""
    count = len(page.dataoffsets)
    handle = page.parent.filehandle
    for index in range(0, count, ceil(count / SAMPLED_TILES)):
        offset, size = page.dataoffsets[index], page.databytecounts[index]
        handle.seek(offset)
        if handle.read(2) != start:
            return False
        handle.seek(offset + max(size - 16, 0))
        if end not in handle.read(16):
            return False
    return True


def _mpp(tiff: TiffFile, page: TiffPage) -> Mpp | None:
    """Microns per pixel, from the place where this layout keeps it."""
    if tiff.is_svs and (found := _aperio_mpp(page.description)):
        return found
    if tiff.is_philips and (found := _philips_mpp(page.description)):
        return found
    if tiff.is_ome and (found := _ome_mpp(page.description)):
        return found
    return _resolution_mpp(page)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) else None


def _mpp_or_none(x: float | None, y: float | None, source: str) -> Mpp | None:
    return None if x is None or y is None else Mpp(x, y, source)


def _aperio_mpp(description: str) -> Mpp | None:
    match = re.search(r"\|\s*MPP\s*=\s*([^|\s]+)", description)
    value = _number(match.group(1)) if match else None
    return _mpp_or_none(value, value, "aperio")


def _philips_mpp(description: str) -> Mpp | None:
    """DICOM PixelSpacing, PS3.3 C.7.6.3: row spacing, then column spacing, in mm."""
    match = re.search(r'Name="DICOM_PIXEL_SPACING"[^>]*>([^<]*)<', description)
    values = re.findall(r"[0-9.eE+-]+", match.group(1).replace("&quot;", " ")) if match else []
    if len(values) < 2:
        return None
    y, x = _number(values[0]), _number(values[1])
    return _mpp_or_none(x and x * 1000, y and y * 1000, "philips")


OME_UNITS_UM = {"µm": 1.0, "um": 1.0, "μm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


def _ome_mpp(description: str) -> Mpp | None:
    try:
        root = ElementTree.fromstring(description)  # noqa: S314 - expat bounds entities
    except ElementTree.ParseError:
        return None
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return None
    values = []
    for axis in ("X", "Y"):
        value = _number(pixels.get(f"PhysicalSize{axis}"))
        unit = OME_UNITS_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        values.append(value * unit if value is not None and unit is not None else None)
    return _mpp_or_none(values[0], values[1], "ome")


def _resolution_mpp(page: TiffPage) -> Mpp | None:
    """TIFF 6.0 tags 282, 283 and 296: pixels per inch (unit 2) or per centimetre (unit 3)."""
    unit = page.tags.valueof(296, default=2)
    um_per_unit = {2: UM_PER_INCH, 3: UM_PER_CM}.get(int(unit))
    values = []
    for tag in (282, 283):
        numerator, denominator = page.tags.valueof(tag, default=(0, 1))
        usable = um_per_unit is not None and numerator > 0 and denominator > 0
        values.append(um_per_unit * denominator / numerator if usable and um_per_unit else None)
    return _mpp_or_none(values[0], values[1], "tiff-resolution")
