"""Attention: the tiles that a head looked at most, as small pictures for a report."""

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile.errors import RequestInvalid

SHOWN = 8
SIDE_PX = 112
JPEG_QUALITY = 85


@dataclass(frozen=True, eq=False)
class AttentionExample:
    """Tiles of one slide with their attention."""

    title: str
    caption: str
    tiles: NDArray[np.uint8]
    """(N, 224, 224, 3) RGB."""
    weights: NDArray[np.float64]
    """(N,) shares of the slide's attention; of all tiles they sum to 1."""
    count: int
    """Of all tiles of the slide, those that are not given, too."""


@dataclass(frozen=True)
class Strip:
    """The most attended tiles, the first first."""

    title: str
    caption: str
    weights: tuple[float, ...]
    pictures: tuple[str, ...]
    """Data URIs."""
    count: int
    """Tiles of the slide, shown or not."""

    @property
    def times_mean(self) -> tuple[float, ...]:
        """The weights over their mean over all tiles: of many tiles every share is next to 0."""
        return tuple(weight * self.count for weight in self.weights)


def make_strip(example: AttentionExample) -> Strip:
    """At most `SHOWN` tiles by falling weight."""
    _check(example)
    order = np.argsort(-example.weights, kind="stable")[:SHOWN]  # (k,)
    return Strip(
        example.title,
        example.caption,
        tuple(example.weights[order].tolist()),
        tuple(_data_uri(example.tiles[i]) for i in order),
        example.count,
    )


def _check(example: AttentionExample) -> None:
    hint = "Give uint8 RGB tiles (N, height, width, 3) and their N weights from 0 to 1."
    tiles, weights = example.tiles, example.weights
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[3] != 3:
        detail = f"{example.title}: tiles are {tiles.dtype} {tiles.shape}"
        raise RequestInvalid(detail, hint=hint)
    if weights.shape != (len(tiles),) or not ((weights >= 0) & (weights <= 1)).all():
        detail = f"{example.title}: weights {weights.shape} are no shares of {len(tiles)} tiles"
        raise RequestInvalid(detail, hint=hint)


def _data_uri(tile: NDArray[np.uint8]) -> str:
    small = cv2.resize(tile, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)  # (SIDE_PX, SIDE_PX, 3)
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done  # OpenCV always has a JPEG encoder
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
