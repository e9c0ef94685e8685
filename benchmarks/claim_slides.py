"""Slides of the paper's claim: no tile tells the class, only how the tiles of a slide differ.

As in the paper's appendix A, in painted tissue. A slide's tiles come in two kinds, of nuclei below
and above the slide's own size. In a heterogeneous slide one half of the tiles is of each kind; in
a homogeneous one all are of one kind, in every second slide the small one. So a tile, and the mean
of all tiles of a class, look the same in both classes, by construction: each tile of a
heterogeneous slide is to the byte a tile of a homogeneous one (tests/benchmarks/
test_claim_seed.py). A slide's own size varies more than the kinds differ, as it does between
patients: no size is that of the large kind in all slides, for attention to look for. The label
`cellularity`, independent of it, is how many nuclei there are, which is seen in every tile. All
tissue is of one sort, without stroma and glands, so that nothing else differs between tiles.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsmile.digest import digest_of, digest_of_file
from deepsmile_training.demo.cohort import recipe_digest, slide_seed
from deepsmile_training.synthetic.anatomy import TILE_UM, Anatomy, draw_anatomy
from deepsmile_training.synthetic.fields import smooth_field
from deepsmile_training.synthetic.files import make_missing
from deepsmile_training.synthetic.nuclei import Nuclei, draw_nuclei
from deepsmile_training.synthetic.painting import paint
from deepsmile_training.synthetic.scanner import scan, write_slide
from deepsmile_training.synthetic.specimen import SlideSpec, draw_spec

STREAM = 3
"""Of seeds; the demo has 0 to 2, so that its encoder has seen none of these slides."""
TISSUE_TILES = (14.0, 20.0)
MEAN_UM = (6.2, 12.0)
"""Nuclear diameter of a slide, um; its logarithm is drawn evenly."""
SIZES = (0.82, 1.18)
"""Nuclear diameter in tiles of small and of large nuclei, relative to the slide's."""
LARGEST_DENT = 1.35
"""How far an outline may bulge, relative to its ellipse: four of the painter's deviations."""
MPP = 1.0
"""Tiles of 256 um are then the stored JPEG tiles, and no compression reaches over either."""
REGION_TILES = 4.0
"""Width of the regions of a kind."""


@dataclass(frozen=True)
class Mosaic:
    """One slide; `large` is the kind of a homogeneous slide, or turns a heterogeneous one over."""

    spec: SlideSpec
    large: bool

    @property
    def name(self) -> str:
        """Of its file and its patient."""
        return f"{self.spec.seed:010}"


def draw_mosaics(slides: int, seed: int) -> tuple[Mosaic, ...]:
    """The eight combinations of heterogeneity, cellularity and kind in equal numbers."""
    return tuple(
        draw_mosaic(
            slide_seed(seed, STREAM, index),
            heterogeneous=bool(index & 1),
            cellular=bool(index & 2),
            large=bool(index & 4),
        )
        for index in range(slides)
    )


def draw_mosaic(seed: int, *, heterogeneous: bool, cellular: bool, large: bool) -> Mosaic:
    """A specimen whose own nuclei are all of one size; stain, shape and noise vary by seed."""
    spec = draw_spec(
        seed, heterogeneous=heterogeneous, cellular=cellular, tissue_tiles=TISSUE_TILES
    )
    rng = np.random.default_rng([seed, 7])
    mean_um = float(np.exp(rng.uniform(*np.log(MEAN_UM))))
    even = replace(spec, nest_share=1.0, glands_per_mm2=0.0, fragments=1)
    return Mosaic(replace(even, mean_um=mean_um, spread=0.0, mpp=MPP, layout="aperio"), large)


def paint_mosaic(path: Path, slide: Mosaic) -> None:
    """Write the slide to `path`, as the demo's painter does."""
    spec = slide.spec
    anatomy = draw_anatomy(spec)
    light = paint(spec, anatomy, sized(draw_nuclei(spec, anatomy), kinds_of(slide, anatomy)))
    unfinished = path.with_suffix(".tmp")
    write_slide(unfinished, spec, scan(spec, light))
    unfinished.replace(path)


def kinds_of(slide: Mosaic, anatomy: Anatomy) -> NDArray[np.int64]:
    """Kind of each tile of the grid (rows, columns), 1 = large nuclei."""
    rows, columns = (side // TILE_UM + 1 for side in anatomy.shape)
    if not slide.spec.heterogeneous:
        return np.full((rows, columns), int(slide.large))  # (rows, columns)
    padded = np.zeros((rows * TILE_UM, columns * TILE_UM), np.bool_)  # (rows t, columns t)
    padded[: anatomy.shape[0], : anatomy.shape[1]] = anatomy.tissue
    share = padded.reshape(rows, TILE_UM, columns, TILE_UM).mean(axis=(1, 3))  # (rows, columns)
    rng = np.random.default_rng([slide.spec.seed, 6])
    region = smooth_field(rng, (rows, columns), REGION_TILES)  # (rows, columns)
    border = np.median(region[share > 0.5])
    kinds: NDArray[np.int64] = ((region > border) ^ slide.large).astype(np.int64)
    return kinds  # (rows, columns)


def sized(nuclei: Nuclei, kinds: NDArray[np.int64]) -> Nuclei:
    """The nuclei that stay within their tile if they are large, in the size of its kind."""
    places = np.stack([nuclei.y, nuclei.x], axis=1)  # (N, 2)
    half_um = nuclei.diameter_um * SIZES[1] / 2 * np.sqrt(nuclei.aspect)  # (N,)
    reach_um = LARGEST_DENT * half_um[:, None] + 1  # (N, 1)
    within = places % TILE_UM  # (N, 2)
    kept = ((within >= reach_um) & (within < TILE_UM - reach_um)).all(axis=1)  # (N,)
    some = Nuclei(**{each.name: getattr(nuclei, each.name)[kept] for each in fields(nuclei)})
    row, column = (places[kept] // TILE_UM).astype(np.int64).T  # (K,) each
    size = np.array(SIZES)[kinds[row, column]]  # (K,)
    return replace(some, diameter_um=some.diameter_um * size)


def make_mosaics(
    slides: tuple[Mosaic, ...], folder: Path, workers: int, advance: Callable[[], None]
) -> dict[str, Path]:
    """Files by name; those of the same painter that are there already are kept."""
    painter = digest_of([recipe_digest([]), digest_of_file(Path(__file__))])[:12]
    place = folder / painter
    place.mkdir(parents=True, exist_ok=True)
    paths = {slide.name: place / f"{slide.name}.svs" for slide in slides}
    make_missing(list(paths.values()), slides, paint_mosaic, workers, advance)
    return paths
