"""Preview: tissue as it is, the rest faded."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile.preview import OUTLINE_RGB, draw_preview


def decoded(png: bytes) -> NDArray[np.uint8]:
    """RGB pixels of a PNG, (h, w, 3)."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1].astype(np.uint8)


def test_tissue_tiles_keep_their_colours_inside_an_outline_and_the_rest_fades() -> None:
    """Fading goes 45 % of the way to white: 100 becomes 169."""
    overview = np.full((64, 96, 3), (100, 40, 200), np.uint8)
    image = decoded(draw_preview(overview, 32, np.array([[1, 0], [2, 1]], np.int32)))
    assert image.shape == (64, 96, 3)
    for x, y in ((32, 0), (64, 32)):
        tile = image[y : y + 32, x : x + 32]
        assert (tile[1:-1, 1:-1] == (100, 40, 200)).all()
        for edge in (tile[0], tile[-1], tile[:, 0], tile[:, -1]):
            assert (edge == OUTLINE_RGB).all()
    for x, y in ((0, 0), (64, 0), (0, 32), (32, 32)):
        assert (image[y : y + 32, x : x + 32] == (169, 136, 224)).all()


def test_without_tissue_everything_fades() -> None:
    overview = np.full((32, 32, 3), 0, np.uint8)
    image = decoded(draw_preview(overview, 32, np.empty((0, 2), np.int32)))
    assert (image == 114).all()


def test_the_overview_itself_is_left_alone() -> None:
    overview = np.full((32, 32, 3), 80, np.uint8)
    draw_preview(overview, 32, np.array([[0, 0]], np.int32))
    assert (overview == 80).all()
