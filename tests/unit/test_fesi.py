"""FESI: foreground by edges, blurred and filled."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile.contract import FesiLike
from deepsmile.tissue import (
    fesi_foreground,
    find_tissue,
    is_tissue,
)
from tests.making import feature_contract
from tests.unit.test_tissue import as_rgb, contract_with, flat, noisy, overview

Image = NDArray[np.uint8]


def test_fesi_takes_no_black_filler_for_tissue() -> None:
    """A black square has edges all around, and FESI fills what they enclose."""
    rule = {"rule": "fesi_like", "blur_px": 2.0, "min_foreground": 0.5}
    image = as_rgb(noisy(244, 0.3, 0, 160))
    image[32:64, 32:64] = 0
    image[96:128, 96:128] = as_rgb(noisy(150, 25, 1, 32))
    found = find_tissue(overview(image), feature_contract(tissue=rule)).candidates
    assert np.argwhere(found).tolist() == [[3, 3]]
    any_stain = find_tissue(overview(image), contract_with(tissue=rule)).candidates
    assert np.argwhere(any_stain).tolist() == [[1, 1], [3, 3]]


def slow_fesi_edges(grey: Image) -> NDArray[np.float64]:
    """|Laplacian|, 4 neighbours, mirrored at the edge, (h, w)."""
    padded = np.pad(grey.astype(float), 1, mode="reflect")
    out = np.zeros(grey.shape)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            cross = (
                padded[y, x + 1] + padded[y + 2, x + 1] + padded[y + 1, x] + padded[y + 1, x + 2]
            )
            out[y, x] = abs(cross - 4 * padded[y + 1, x + 1])
    return out


def test_fesi_s_foreground_is_where_blurred_edges_are_above_their_mean() -> None:
    """FESI (Bug et al. 2015) in spirit: closing and filling only ever add pixels."""
    grey = noisy(244, 0.5, 0, 96)
    grey[30:66, 30:66] = noisy(150, 25, 1, 36)
    rule = FesiLike(rule="fesi_like", blur_px=2.0, min_foreground=0.5)
    smooth = cv2.GaussianBlur(slow_fesi_edges(grey), (0, 0), 2.0)
    raw = smooth > smooth.mean()
    found = fesi_foreground(grey, rule)
    assert found[raw].all()
    assert found[34:62, 34:62].all()
    assert not found[:20].any()
    assert not found[:, 76:].any()


def test_fesi_fills_holes() -> None:
    """A ring of tissue counts whole, its pale centre included."""
    grey = np.full((128, 128), 244, np.uint8)
    cv2.circle(grey, (64, 64), 40, 120, 8)
    found = fesi_foreground(grey, FesiLike(rule="fesi_like", blur_px=1.5, min_foreground=0.5))
    assert found[64, 64]
    assert not found[2, 2]


def test_fesi_keeps_tiles_by_their_share_of_foreground() -> None:
    """The authors' released configs: mask mean >= 0.5."""
    rule = {"rule": "fesi_like", "blur_px": 2.0, "min_foreground": 0.5}
    image = as_rgb(noisy(244, 0.3, 0, 96))
    image[32:64, 32:64] = as_rgb(noisy(150, 25, 1, 32))
    tissue = find_tissue(overview(image), contract_with(tissue=rule))
    assert tissue.candidates.tolist() == [[False] * 3, [False, True, False], [False] * 3]
    assert is_tissue(flat(255), FesiLike.model_validate(rule), 255)


def test_fesi_of_one_grey_finds_nothing() -> None:
    rule = FesiLike(rule="fesi_like", blur_px=2.0, min_foreground=0.5)
    assert not fesi_foreground(np.full((32, 32), 240, np.uint8), rule).any()
    assert fesi_foreground(np.zeros((0, 32), np.uint8), rule).shape == (0, 32)
