"""Preview: the overview with its tissue tiles outlined, as PNG."""

import cv2
import numpy as np

from deepsmile.pyramid import Cells
from deepsmile.slides.slide import RGB, WHITE

OUTLINE_RGB = (0, 110, 120)
DIMMED = 0.45
"""How far tiles without tissue fade to white."""


def draw_preview(overview: RGB, tile_px: int, tissue: Cells) -> bytes:
    """PNG of the overview (rows * t, columns * t, 3); tiles at `tissue` (N, 2) stand out."""
    faded = overview + (WHITE - overview.astype(np.float32)) * DIMMED  # (h, w, 3)
    image = faded.astype(np.uint8)
    for column, row in tissue.tolist():
        y, x = row * tile_px, column * tile_px
        image[y : y + tile_px, x : x + tile_px] = overview[y : y + tile_px, x : x + tile_px]
        corner = (x + tile_px - 1, y + tile_px - 1)
        cv2.rectangle(image, (x, y), corner, OUTLINE_RGB, 1)
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
