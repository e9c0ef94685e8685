"""Fields: smooth random maps over a specimen, the paper and ink of everything painted."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""One value per micron, (h, w)."""
Mask = NDArray[np.bool_]

PATTERN_UM = 1024
"""Fine textures repeat after this: nobody sees it, and they cost next to nothing."""


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], scale_um: float) -> Field:
    """Gaussian noise with features of about `scale_um`, mean 0 and standard deviation 1, (h, w).

    Drawn on a coarse grid and enlarged, so that wide features cost nothing.
    """
    step = max(scale_um / 4, 1)
    coarse = (int(shape[0] / step) + 4, int(shape[1] / step) + 4)
    noise = rng.standard_normal(coarse, dtype=np.float32)  # (h / step, w / step)
    noise = standardised(cv2.GaussianBlur(noise, (0, 0), 2.0))  # (h / step, w / step)
    size = (round(coarse[1] * step), round(coarse[0] * step))
    wide = cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)  # (>= h, >= w)
    return np.asarray(wide[: shape[0], : shape[1]], np.float32)


def fibres(rng: np.random.Generator, bend: Field) -> Field:
    """Fibres 1 to 3 um thick along the lines y + `bend` = constant, sd about 1, (h, w)."""
    straight = _pattern(rng, 16, 0.8) + _pattern(rng, 28, 3.5)  # (p, p)
    x = np.tile(np.arange(bend.shape[1], dtype=np.float32), (bend.shape[0], 1))  # (h, w)
    y = bend + np.arange(bend.shape[0], dtype=np.float32)[:, None]  # (h, w)
    bent = cv2.remap(standardised(straight), x, y, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
    return np.asarray(bent, np.float32)  # (h, w)


def grain(rng: np.random.Generator, shape: tuple[int, int], sigma_um: float) -> Field:
    """Fine isotropic texture, mean 0 and standard deviation 1, (h, w)."""
    repeats = (shape[0] // PATTERN_UM + 1, shape[1] // PATTERN_UM + 1)
    return np.tile(_pattern(rng, sigma_um, sigma_um), repeats)[: shape[0], : shape[1]]


def standardised(field: NDArray[Any]) -> Field:
    """Mean 0 and standard deviation 1, (h, w)."""
    scaled = (field - field.mean()) / max(float(field.std()), 1e-6)  # (h, w)
    return np.asarray(scaled, np.float32)


def _pattern(rng: np.random.Generator, sigma_x_um: float, sigma_y_um: float) -> Field:
    """Blurred noise whose opposite edges meet, sd 1, (PATTERN_UM, PATTERN_UM)."""
    noise = rng.standard_normal((PATTERN_UM, PATTERN_UM), dtype=np.float32)  # (p, p)
    edge = int(4 * max(sigma_x_um, sigma_y_um)) + 1
    around = np.pad(noise, edge, mode="wrap")  # (p + 2 edge, p + 2 edge)
    blurred = cv2.GaussianBlur(around, (0, 0), sigmaX=sigma_x_um, sigmaY=sigma_y_um)
    return standardised(blurred[edge:-edge, edge:-edge])
