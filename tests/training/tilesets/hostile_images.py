"""Hostile images: headers that claim more than there is."""

import struct
import zlib

import cv2
import numpy as np


def png_of(width: int, height: int, pixels: bytes = b"", clear: bytes = b"") -> bytes:
    """A PNG whose header claims any size; it has no pixels unless given lines of them.

    `clear` is the colour that is transparent (PNG, 11.3.2.1), if one is.
    """
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        *([(b"tRNS", clear)] if clear else []),
        (b"IDAT", zlib.compress(pixels)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg_of(width: int, height: int) -> bytes:
    """A whole JPEG but for the size in its header (ITU T.81, B.2.2)."""
    data = cv2.imencode(".jpg", np.zeros((224, 224, 3), np.uint8))[1].tobytes()
    return data.replace(struct.pack(">HH", 224, 224), struct.pack(">HH", height, width), 1)
