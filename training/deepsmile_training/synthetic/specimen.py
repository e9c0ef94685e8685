"""Specimen: what one synthetic slide is, in numbers, before anything is painted.

Labels follow the idea of the paper's Appendix A: two kinds of slide have the same mean nuclear
size, and its variance, between tiles and within them, tells them apart.
"""

from dataclasses import dataclass

import numpy as np

MPPS = (0.5, 0.504, 1.0)
"""Of the imaginary scanners, um per px of level 0; all fine enough for tiles of 1.143."""
LAYOUTS = ("aperio", "generic")
BORDER_PER_MM2 = 1700.0
"""Nuclei per mm2 at the border between paucicellular and cellular."""


@dataclass(frozen=True)
class SlideSpec:
    """One slide. Everything but the labels is drawn without looking at them."""

    seed: int
    heterogeneous: bool
    """Whether large and small nuclei keep to regions of their own, or mix in every tile."""
    cellular: bool
    """Whether there are more nuclei per mm2 than `BORDER_PER_MM2`."""
    mean_um: float
    """Mean nuclear diameter, um."""
    spread: float
    """Standard deviation of the nuclear diameter between the two kinds of nuclei, of the mean."""
    large_share: float
    """Share of the nuclei that are enlarged."""
    per_mm2: float
    """Nuclei per mm2 of tissue."""
    tissue_tiles: float
    """Tissue area, in tiles of 256 um."""
    fragments: int
    glands_per_mm2: float
    nest_share: float
    """Share of the tissue that is cell nests, not stroma."""
    haematoxylin: float
    eosin: float
    """Strengths of the stains, 1 = usual."""
    tint: tuple[float, float]
    """Shift of the hue of haematoxylin and eosin, in standard deviations."""
    glass_grey: float
    noise: float
    """Standard deviation of the scanner's noise, grey levels."""
    mpp: float
    layout: str
    quality: int
    """Of the JPEG tiles."""

    @property
    def sizes(self) -> tuple[float, float]:
        """(small, large) diameters relative to the mean: a two-point law, mean 1, sd `spread`."""
        p = self.large_share
        return 1 - self.spread * (p / (1 - p)) ** 0.5, 1 + self.spread * ((1 - p) / p) ** 0.5


def draw_spec(
    seed: int,
    *,
    heterogeneous: bool,
    cellular: bool,
    tissue_tiles: tuple[float, float] = (25.0, 65.0),
) -> SlideSpec:
    """Draw a specimen; the nuisance depends on `seed` alone, so no label can leak into it."""
    rng = np.random.default_rng([seed, 0])
    ratio = float(rng.uniform(1.0, 1.6))  # how far from the border of the second label
    return SlideSpec(
        seed=seed,
        heterogeneous=heterogeneous,
        cellular=cellular,
        mean_um=float(rng.uniform(7.6, 9.8)),
        spread=float(rng.uniform(0.17, 0.4)),
        large_share=float(rng.uniform(0.3, 0.5)),
        per_mm2=BORDER_PER_MM2 * (ratio if cellular else 1 / ratio),
        tissue_tiles=float(rng.uniform(*tissue_tiles)),
        fragments=int(rng.integers(1, 4)),
        glands_per_mm2=float(rng.uniform(0, 5)),
        nest_share=float(rng.uniform(0.5, 0.8)),
        haematoxylin=float(rng.uniform(0.8, 1.2)),
        eosin=float(rng.uniform(0.75, 1.25)),
        tint=(float(rng.normal()), float(rng.normal())),
        glass_grey=float(rng.uniform(240, 248)),
        noise=float(rng.uniform(0.8, 2.0)),
        mpp=float(rng.choice(MPPS)),
        layout=str(rng.choice(LAYOUTS)),
        quality=int(rng.integers(75, 91)),
    )
