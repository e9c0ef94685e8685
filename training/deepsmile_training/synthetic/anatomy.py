"""Anatomy: where a specimen has tissue, cell nests, lumens and vessels; no colour yet."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile_training.synthetic.fields import Field, Mask, smooth_field
from deepsmile_training.synthetic.specimen import SlideSpec

TILE_UM = 256
MARGIN_UM = 200
"""Glass around the tissue on each side."""
BEND_UM = 150
"""How far the fibres of the stroma swing."""


@dataclass(frozen=True)
class Gland:
    """A ring of nuclei around a lumen; um."""

    x: float
    y: float
    radius_um: float
    aspect: float
    angle: float
    """Radians."""


@dataclass(frozen=True)
class Anatomy:
    """Maps at 1 um per px."""

    tissue: Mask
    """(h, w)"""
    nests: Field
    """(h, w) 1 in cell nests, 0 in stroma, soft between"""
    bend: Field
    """(h, w) um; the stroma's fibres follow the lines y + bend = constant"""
    lumens: Mask
    """(h, w) holes inside the glands"""
    glands: tuple[Gland, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.tissue.shape[0], self.tissue.shape[1]


def draw_anatomy(spec: SlideSpec) -> Anatomy:
    """Lay out a specimen; the same seed gives the same layout, whatever its labels."""
    rng = np.random.default_rng([spec.seed, 1])
    tissue = _tissue(rng, spec)
    shape = (tissue.shape[0], tissue.shape[1])
    wish = smooth_field(rng, shape, 330) + 0.2 * smooth_field(rng, shape, 50)  # (h, w)
    border = float(np.quantile(wish[tissue], 1 - spec.nest_share))
    nests = np.clip((wish - border) * 7 + 0.5, 0, 1).astype(np.float32)  # (h, w)
    bend = BEND_UM * smooth_field(rng, shape, 500) + 8 * smooth_field(rng, shape, 70)  # (h, w)
    glands = _glands(rng, spec, nests * tissue)
    return Anatomy(tissue, nests, bend.astype(np.float32), _lumens(glands, tissue), glands)


def _tissue(rng: np.random.Generator, spec: SlideSpec) -> Mask:
    """Irregular fragments side by side whose area is that of `spec.tissue_tiles` tiles, (h, w)."""
    area_um2 = spec.tissue_tiles * TILE_UM**2
    tall = float(rng.uniform(0.8, 1.5))
    height = int((area_um2 * 1.45 * tall) ** 0.5) + 2 * MARGIN_UM
    width = int((area_um2 * 1.45 / tall) ** 0.5) + 2 * MARGIN_UM
    y, x = np.indices((height, width), dtype=np.float32)  # (h, w) each
    dome = np.full((height, width), -9, np.float32)  # (h, w)
    for k in range(spec.fragments):
        centre = MARGIN_UM + (width - 2 * MARGIN_UM) * (k + 0.5) / spec.fragments
        across = (x - centre) / ((width - 2 * MARGIN_UM) / spec.fragments / 2)  # (h, w)
        along = (y - height / 2) / (height / 2 - MARGIN_UM)  # (h, w)
        dome = np.maximum(dome, 1 - np.sqrt(across**2 + along**2))  # (h, w)
    shape = (height, width)
    wobble = 0.10 * smooth_field(rng, shape, 700) + 0.02 * smooth_field(rng, shape, 60)  # (h, w)
    height_map = dome + wobble + _vignette(shape)  # (h, w)
    threshold = np.partition(height_map.ravel(), -int(area_um2))[-int(area_um2)]
    tissue: Mask = height_map >= threshold
    return tissue


def _vignette(shape: tuple[int, int]) -> Field:
    """Very low near the border, so that glass surrounds the tissue, (h, w)."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in shape)  # (h,), (w,)
    distance = np.minimum(rows[:, None], columns[None]).astype(np.float32)  # (h, w)
    return np.asarray(np.minimum(distance / (MARGIN_UM / 2) - 1, 0) * 9, np.float32)


def _glands(
    rng: np.random.Generator, spec: SlideSpec, nests: NDArray[np.float32]
) -> tuple[Gland, ...]:
    count = int(spec.glands_per_mm2 * spec.tissue_tiles * (TILE_UM / 1000) ** 2)
    glands: list[Gland] = []
    for _ in range(4 * count):
        x, y = float(rng.uniform(0, nests.shape[1])), float(rng.uniform(0, nests.shape[0]))
        radius = float(rng.uniform(16, 42))
        crowded = any((g.x - x) ** 2 + (g.y - y) ** 2 < 150**2 for g in glands)
        if len(glands) < count and not crowded and nests[int(y), int(x)] > 0.9:
            aspect, angle = float(rng.uniform(1, 2)), float(rng.uniform(0, np.pi))
            glands.append(Gland(x, y, radius, aspect, angle))
    return tuple(glands)


def _lumens(glands: tuple[Gland, ...], tissue: Mask) -> Mask:
    lumens = np.zeros(tissue.shape, np.uint8)  # (h, w)
    for g in glands:
        axes = (int(g.radius_um * g.aspect), int(g.radius_um))
        centre = (int(g.x), int(g.y))
        cv2.ellipse(lumens, centre, axes, float(np.degrees(g.angle)), 0, 360, 1, cv2.FILLED)
    return lumens.astype(np.bool_) & tissue
