"""Sheet: a slide's tiles at a glance, to see what was packed."""

from pathlib import Path

import cv2
import numpy as np

from deepsmile.disk import replacing
from deepsmile.slides.slide import RGB
from deepsmile_training.tilesets.shard import Shard

SIDE, EDGE_PX, HEADER_PX = 8, 104, 28
MOST_BYTES = 300_000
QUALITIES = (85, 70, 55, 40, 25)


def write_sheet(path: Path, title: str, shard: Shard, tile_px: int) -> None:
    """Up to 64 of a shard's tiles, spread evenly, under a line of text; at most 300 kB."""
    tiles = len(shard.index)
    chosen = np.unique(np.linspace(0, tiles - 1, SIDE * SIDE).astype(int))  # (k,)
    sheet = _paper(title, -(-len(chosen) // SIDE))  # (h, w, 3)
    tile = np.empty((tile_px, tile_px, 3), np.uint8)  # (s, s, 3)
    for place, number in enumerate(chosen.tolist()):
        shard.read_into(number, tile)
        top, left = HEADER_PX + place // SIDE * EDGE_PX, place % SIDE * EDGE_PX
        small = cv2.resize(tile, (EDGE_PX - 2, EDGE_PX - 2), interpolation=cv2.INTER_AREA)
        sheet[top : top + EDGE_PX - 2, left : left + EDGE_PX - 2] = small
    with replacing(path) as file:
        file.write(_small_jpeg(sheet))


def _paper(title: str, rows: int) -> RGB:
    paper = np.full((HEADER_PX + rows * EDGE_PX, SIDE * EDGE_PX, 3), 255, np.uint8)  # (h, w, 3)
    black, font = (0, 0, 0), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(paper, title, (4, 19), font, 0.45, black, 1, cv2.LINE_AA)
    return paper


def _small_jpeg(sheet: RGB) -> bytes:
    for quality in QUALITIES:
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
        _, data = cv2.imencode(".jpg", sheet[..., ::-1], settings)
        if len(data) <= MOST_BYTES:
            break
    return data.tobytes()
