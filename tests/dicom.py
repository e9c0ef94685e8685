"""A writer of small DICOM slides: one instance of one frame, as bytes."""

from struct import pack

import numpy as np
from numpy.typing import NDArray

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
ROOT = "1.2.826.0.1.3680043.8.498.1"


def dicom_instance(
    image: NDArray[np.uint8], series: int, number: int, flavour: str = "VOLUME"
) -> bytes:
    """An instance of a series; a `flavour` other than VOLUME is no slide by itself."""
    rows, columns = image.shape[:2]
    uid = f"{ROOT}.{series}.{number}"
    meta = _text(2, 2, "UI", WHOLE_SLIDE) + _text(2, 3, "UI", uid)
    meta += _text(2, 0x10, "UI", EXPLICIT_LITTLE_ENDIAN)
    body = [
        _text(8, 8, "CS", rf"ORIGINAL\PRIMARY\{flavour}\NONE"),
        _text(8, 0x16, "UI", WHOLE_SLIDE),
        _text(8, 0x18, "UI", uid),
        _text(8, 0x60, "CS", "SM"),
        _text(0x20, 0xD, "UI", f"{ROOT}.{series}"),
        _text(0x20, 0xE, "UI", f"{ROOT}.{series}.0"),
        _text(0x20, 0x9311, "CS", "TILED_FULL"),
        _number(0x28, 2, 3),
        _text(0x28, 4, "CS", "RGB"),
        _number(0x28, 6, 0),
        _text(0x28, 8, "IS", "1"),
        _number(0x28, 0x10, rows),
        _number(0x28, 0x11, columns),
        *(_number(0x28, tag, value) for tag, value in ((0x100, 8), (0x101, 8), (0x102, 7))),
        _number(0x28, 0x103, 0),
        _element(0x48, 6, "UL", pack("<I", columns)),
        _element(0x48, 7, "UL", pack("<I", rows)),
        _element(0x7FE0, 0x10, "OB", image.tobytes()),
    ]
    size = _element(2, 0, "UL", pack("<I", len(meta)))
    return bytes(128) + b"DICM" + size + meta + b"".join(body)


def _text(group: int, element: int, kind: str, text: str) -> bytes:
    return _element(group, element, kind, text.encode())


def _number(group: int, element: int, value: int) -> bytes:
    return _element(group, element, "US", pack("<H", value))


def _element(group: int, element: int, kind: str, value: bytes) -> bytes:
    value += bytes(len(value) % 2)
    length = pack("<HI", 0, len(value)) if kind == "OB" else pack("<H", len(value))
    return pack("<HH", group, element) + kind.encode() + length + value
