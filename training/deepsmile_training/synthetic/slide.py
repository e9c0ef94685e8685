"""Slide: a synthetic specimen as a slide file, and the truth about its tiles."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsmile_training.synthetic.anatomy import draw_anatomy
from deepsmile_training.synthetic.nuclei import Nuclei, draw_nuclei
from deepsmile_training.synthetic.painting import paint
from deepsmile_training.synthetic.scanner import scan, write_slide
from deepsmile_training.synthetic.specimen import SlideSpec


@dataclass(frozen=True)
class TileTruth:
    """What the painter knows of each square of a specimen, (rows, columns)."""

    count: NDArray[np.float32]
    """Nuclei."""
    mean_um: NDArray[np.float32]
    """Mean nuclear diameter, um; 0 where there is none."""


def make_slide(path: Path, spec: SlideSpec) -> None:
    """Paint a specimen and write it to `path`: the old file or the whole new one."""
    anatomy = draw_anatomy(spec)
    nuclei = draw_nuclei(spec, anatomy)
    partial = path.with_suffix(".tmp")
    write_slide(partial, spec, scan(spec, paint(spec, anatomy, nuclei)))
    partial.replace(path)


def truth_of(spec: SlideSpec, edge_um: int) -> TileTruth:
    """Count and mean size of the nuclei in each square of `edge_um` of a specimen."""
    anatomy = draw_anatomy(spec)
    return tile_truth(draw_nuclei(spec, anatomy), anatomy.shape, edge_um)


def tile_truth(nuclei: Nuclei, shape: tuple[int, int], edge_um: int) -> TileTruth:
    """As `truth_of`, of nuclei in an area of `shape` um."""
    rows, columns = shape[0] // edge_um + 1, shape[1] // edge_um + 1
    index = (nuclei.y // edge_um * columns + nuclei.x // edge_um).astype(np.int64)  # (N,)
    count = np.bincount(index, minlength=rows * columns)  # (rows * columns,)
    total_um = np.bincount(index, nuclei.diameter_um, minlength=rows * columns)
    mean_um = total_um / np.maximum(count, 1)  # (rows * columns,)
    return TileTruth(
        count.reshape(rows, columns).astype(np.float32),
        mean_um.reshape(rows, columns).astype(np.float32),
    )
