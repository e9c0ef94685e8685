"""Codec: a tile's pixels as bytes, and back."""

from dataclasses import dataclass
from io import BytesIO
from struct import error as StructError

import cv2
import imagecodecs
import numpy as np
import PIL.Image
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffFileError, TiffPage

from deepsmile.slides.slide import RGB
from deepsmile_training.tilesets.recipe import Encoding

Data = bytes | memoryview

QUALITY = 95
"""Mean error 0.6 grey levels on real H&E tiles, without chroma subsampling."""
JPEG_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
JPEG_END = b"\xff\xd9"
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_DEPTH = 24
"""Which byte says how many bits a channel has."""
END_BYTES = 64
"""Where a JPEG's end is looked for; libjpeg makes up what a cut file lacks and does not say so."""
MOST_PX = 1 << 26
"""Of an image, 8192 x 8192: a header may claim any size, and decoders take memory for it."""
ORIENTATION, UPRIGHT = 274, 1
OPENCV_TIFFS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""Compressions of TIFF that OpenCV decodes; of some others it makes an image of anything."""
TIFF_FAULTS = (
    TiffFileError,
    StructError,
    ArithmeticError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What tifffile and its codecs raise for damaged files."""


class TileDamaged(ValueError):
    """These bytes are no image that can be decoded."""


@dataclass(frozen=True)
class Image:
    """A decoded image file."""

    pixels: RGB
    """(h, w, 3)"""
    data: bytes | None
    """Its own bytes where they decode to just that; None: converted or resized."""


def decode(data: bytes) -> Image:
    """An image as 8-bit RGB, as it is stored: whatever EXIF says, it is not turned.

    Grey, alpha, palettes and 16 bits are converted.

    Raises:
        TileDamaged: it cannot be decoded, was cut short, or claims more than `MOST_PX`.
    """
    if data.startswith(TIFF_MAGIC):
        return Image(_decode_tiff(data), None)
    native = _decode_native(data, _header_of(data))
    return Image(_convert(data), None) if native is None else Image(native, data)


def _convert(data: bytes) -> RGB:
    """Any image that OpenCV reads, (h, w, 3)."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        converted = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise TileDamaged("no image") from error
    if converted is None:
        raise TileDamaged("no image that can be decoded")
    return converted.astype(np.uint8, copy=False)


def _decode_tiff(data: bytes) -> RGB:
    """The first image of a TIFF, (h, w, 3); OpenCV alone passes over strips it cannot decode."""
    file = BytesIO(data)
    try:
        with TiffFile(file) as tiff:
            page = tiff.pages.first
            _check_extent(page, len(data))
            pixels = page.asarray(maxworkers=1)
            if _is_rgb_tiff(page):
                return np.asarray(pixels)
            if page.compression not in OPENCV_TIFFS:
                raise TileDamaged(f"a TIFF with compression {int(page.compression)}, not RGB")
            orientation = page.tags.get(ORIENTATION)
            if orientation is not None:  # OpenCV turns a TIFF whatever its flags say
                orientation.overwrite(UPRIGHT)
            return _convert(file.getvalue())
    except TIFF_FAULTS as error:
        raise TileDamaged(f"{error}") from error


def _check_extent(page: TiffPage, size: int) -> None:
    """Every strip or tile lies in the file; tifffile makes up those that are empty."""
    _check_size(page.imagewidth, page.imagelength * page.imagedepth)
    ends = [
        start + length if length else size + 1
        for start, length in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    if max(ends) > size:
        raise TileDamaged("a TIFF that ends early")


def _is_rgb_tiff(page: TiffPage) -> bool:
    """Of 8 bits and without alpha, one pixel after the other."""
    rgb = page.photometric == PHOTOMETRIC.RGB or (
        page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.JPEG
    )
    plain = page.dtype == np.uint8 and page.bitspersample == 8
    return rgb and plain and page.axes == "YXS" and page.samplesperpixel == 3


def _header_of(data: bytes) -> PIL.Image.Image | None:
    """What an image says of itself; None: whoever decodes it says what is wrong with it."""
    try:
        with PIL.Image.open(BytesIO(data)) as header:
            width, height = header.size
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise TileDamaged(str(error)) from error
    except (OSError, ValueError, OverflowError):
        return None
    _check_size(width, height)
    return header


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PX:
        raise TileDamaged(f"{width} x {height} px, more than a tile image can have")


def _decode_native(data: bytes, header: PIL.Image.Image | None) -> RGB | None:
    """A JPEG or PNG that is 8-bit RGB, (h, w, 3); None for any other image."""
    if header is not None and _is_rgb_png(data, header):
        pixels = np.empty((header.height, header.width, 3), np.uint8)  # (h, w, 3)
        decode_into(data, pixels)
        return pixels
    if not data.startswith(JPEG_MAGIC):
        return None
    if JPEG_END not in data[-END_BYTES:]:
        raise TileDamaged("a JPEG that ends early")
    try:
        image = imagecodecs.jpeg8_decode(data)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise TileDamaged(str(error)) from error
    is_rgb = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return np.asarray(image) if is_rgb else None


def _is_rgb_png(data: bytes, header: PIL.Image.Image) -> bool:
    """Of 8 bits and without transparency, as its header says."""
    rgb = data.startswith(PNG_MAGIC) and header.mode == "RGB" and "transparency" not in header.info
    return rgb and data[PNG_DEPTH] == 8


def decode_into(data: bytes, out: RGB) -> None:
    """Decode a packed tile to `out`, (h, w, 3).

    Raises:
        TileDamaged: it cannot be decoded, or has another size.
    """
    try:
        if data.startswith(JPEG_MAGIC):
            imagecodecs.jpeg8_decode(data, out=out)  # a third faster than into a new array
        else:  # without `out`, each PNG that fails would take a reference to None with it
            imagecodecs.png_decode(data, out=out)
    except (RuntimeError, ValueError) as error:
        raise TileDamaged(str(error)) from error


def encode(pixels: RGB, encoding: Encoding) -> Data:
    """A tile's bytes, (h, w, 3) uint8 -> (n,)."""
    if encoding == "raw":
        return np.ascontiguousarray(pixels).reshape(-1).data
    if encoding == "jpeg":
        return bytes(imagecodecs.jpeg8_encode(pixels, level=QUALITY, subsampling="444"))
    return bytes(imagecodecs.png_encode(pixels))


def as_packed(image: Image, encoding: Encoding) -> Data:
    """An image file's bytes in the encoding: its own where they will do, never compressed twice."""
    own = {"raw": (), "jpeg": (JPEG_MAGIC,), "files": (JPEG_MAGIC, PNG_MAGIC)}[encoding]
    if image.data is not None and image.data.startswith(own):
        return image.data
    return encode(image.pixels, encoding)
