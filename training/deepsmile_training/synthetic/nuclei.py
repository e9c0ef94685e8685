"""Nuclei: where they lie and how large they are; the label `heterogeneity` is made here.

Every slide has two kinds of nuclei, small and large, in the same proportions and sizes. In a
heterogeneous slide each kind keeps to its regions; in a homogeneous one the same sizes are
shuffled over the same places. So the mean, and the whole distribution, of nuclear size is the
same for both classes, and its variance between tiles differs (paper, Appendix A). So does that
within a tile, the other way round: a single tile shows one kind, or both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsmile_training.synthetic.anatomy import Anatomy
from deepsmile_training.synthetic.fields import smooth_field
from deepsmile_training.synthetic.specimen import SlideSpec

Column = NDArray[np.float64]
REGION_UM = 1100
"""Width of the regions that small and large nuclei keep to: several tiles."""
STROMA_DENSITY = 0.45
"""Nuclei per area in stroma, relative to nests."""
PACKING = 1.15
"""Places per nucleus at the densest spot; the rest stay free, so that the pattern is no grid."""
GLAND_STEP_UM = 11.0
"""Between the nuclei around a lumen, um."""
LINING_UM = 10.0
"""From the edge of a lumen to the nuclei that line it, um."""


@dataclass(frozen=True)
class Nuclei:
    """One row per nucleus; um and radians."""

    x: Column
    y: Column
    diameter_um: Column
    """Of the circle of the same area."""
    aspect: Column
    angle: Column

    def __len__(self) -> int:
        return len(self.x)


def draw_nuclei(spec: SlideSpec, anatomy: Anatomy) -> Nuclei:
    """Place the nuclei, then size them."""
    rng = np.random.default_rng([spec.seed, 2, int(spec.cellular)])
    ring = _around_glands(anatomy)  # (R, 3)
    loose = _scattered(rng, spec, anatomy, len(ring))  # (L, 2)
    x, y = np.concatenate([ring[:, :2], loose]).T  # (N,) each
    nest = anatomy.nests[y.astype(int), x.astype(int)]  # (N,)
    size = _relative_sizes(spec, anatomy, x, y)  # (N,)
    variation = np.exp(rng.normal(0, 0.08, len(x)))  # (N,)
    spindle = rng.random(len(x)) > nest  # (N,) thin ones along the stroma's fibres
    along = _fibre_angle(anatomy, x, y) + rng.normal(0, 0.25, len(x))  # (N,)
    angle = np.where(spindle, along, rng.uniform(0, np.pi, len(x)))  # (N,)
    angle[: len(ring)] = ring[:, 2]
    aspect = np.where(spindle, rng.uniform(2.0, 3.6, len(x)), rng.uniform(1.0, 1.6, len(x)))
    return Nuclei(x, y, spec.mean_um * size * variation, aspect, angle)


def _fibre_angle(anatomy: Anatomy, x: Column, y: Column) -> Column:
    """Direction of the fibres at each place, (N,) radians: tangent of y + bend = constant."""
    last_y, last_x = anatomy.shape[0] - 1, anatomy.shape[1] - 1
    row, column = y.astype(int), x.astype(int)  # (N,) each
    above, below = np.maximum(row - 2, 0), np.minimum(row + 2, last_y)  # (N,) each
    left, right = np.maximum(column - 2, 0), np.minimum(column + 2, last_x)  # (N,) each
    bend = anatomy.bend
    by_y = (bend[below, column] - bend[above, column]) / (below - above)  # (N,)
    by_x = (bend[row, right] - bend[row, left]) / (right - left)  # (N,)
    return np.asarray(np.arctan2(-by_x, 1 + by_y))


def _relative_sizes(spec: SlideSpec, anatomy: Anatomy, x: Column, y: Column) -> Column:
    """Sizes relative to the slide's mean, (N,): the same numbers sorted by region, or shuffled."""
    rng = np.random.default_rng([spec.seed, 3])
    region = smooth_field(rng, anatomy.shape, REGION_UM)[y.astype(int), x.astype(int)]  # (N,)
    small, large = spec.sizes
    border = np.quantile(region, 1 - spec.large_share)
    sizes = np.where(region > border, large, small)  # (N,)
    return sizes if spec.heterogeneous else rng.permutation(sizes)


def _scattered(
    rng: np.random.Generator, spec: SlideSpec, anatomy: Anatomy, taken: int
) -> NDArray[np.float64]:
    """(L, 2) places on a jittered hexagonal lattice, thinned to the local density."""
    free = anatomy.tissue & ~anatomy.lumens  # (h, w)
    wish = np.where(free, STROMA_DENSITY + (1 - STROMA_DENSITY) * anatomy.nests, 0)  # (h, w)
    total = max(spec.per_mm2 * 1e-6 * float(anatomy.tissue.sum()) - taken, 1)
    peak_per_um2 = total / float(wish.sum())
    places = _lattice(rng, anatomy.shape, (PACKING * peak_per_um2) ** -0.5)  # (P, 2)
    chance = wish[places[:, 1].astype(int), places[:, 0].astype(int)] / PACKING  # (P,)
    kept: NDArray[np.float64] = places[rng.random(len(places)) < chance]  # (L, 2)
    return kept


def _lattice(
    rng: np.random.Generator, shape: tuple[int, int], step_um: float
) -> NDArray[np.float64]:
    """(P, 2) x and y of a hexagonal lattice with one place per `step_um` squared, jittered."""
    across, down = step_um * (4 / 3) ** 0.25, step_um * (3 / 4) ** 0.25
    y, x = np.mgrid[0 : shape[0] : down, 0 : shape[1] : across]  # (rows, columns) each
    x[1::2] += across / 2
    places = np.stack([x.ravel(), y.ravel()], axis=1)  # (P, 2)
    places += rng.normal(0, 0.2 * step_um, places.shape)  # (P, 2)
    inside = np.all((places >= 0) & (places < (shape[1], shape[0])), axis=1)  # (P,)
    kept: NDArray[np.float64] = places[inside]  # (P', 2)
    return kept


def _around_glands(anatomy: Anatomy) -> NDArray[np.float64]:
    """(R, 3) x, y and angle of the nuclei that line the lumens, pointing away from them."""
    rows = [np.empty((0, 3))]
    for g in anatomy.glands:
        a, b = g.radius_um * g.aspect + LINING_UM, g.radius_um + LINING_UM
        count = int(np.pi * (a + b) / GLAND_STEP_UM)
        t = np.linspace(0, 2 * np.pi, count, endpoint=False)  # (R,)
        u, v = a * np.cos(t), b * np.sin(t)  # (R,) each
        cos, sin = np.cos(g.angle), np.sin(g.angle)
        x, y = g.x + u * cos - v * sin, g.y + u * sin + v * cos  # (R,) each
        away = np.arctan2(v / b**2, u / a**2) + g.angle  # (R,) normal of the ellipse
        rows.append(np.stack([x, y, away], axis=1))
    ring: NDArray[np.float64] = np.concatenate(rows)  # (R, 3)
    inside = np.all((ring[:, :2] >= 0) & (ring[:, :2] < anatomy.shape[::-1]), axis=1)  # (R,)
    x, y = ring[inside, :2].astype(int).T  # (R',) each
    kept: NDArray[np.float64] = ring[inside][anatomy.tissue[y, x]]  # (R'', 3)
    return kept
