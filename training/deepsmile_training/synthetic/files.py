"""Files: slides made side by side in processes of their own; those already there are kept."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2

from deepsmile_training.synthetic.slide import make_slide
from deepsmile_training.synthetic.specimen import SlideSpec

Spec = TypeVar("Spec")

SUFFIX = {"aperio": ".svs", "generic": ".tif"}


def make_slides(
    specs: Sequence[SlideSpec], folder: Path, workers: int, advance: Callable[[], None]
) -> list[Path]:
    """Slide files of all specimens, in their order; a slide depends on its specimen alone."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"slide-{k:04d}{SUFFIX[spec.layout]}" for k, spec in enumerate(specs)]
    make_missing(paths, specs, make_slide, workers, advance)
    return paths


def make_missing(
    paths: Sequence[Path],
    specs: Sequence[Spec],
    make: Callable[[Path, Spec], object],
    workers: int,
    advance: Callable[[], None],
) -> None:
    """Call `make`, a function of a module, with each path that is not there and its specimen."""
    context = get_context("spawn")  # a fork would take the threads' locks along
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        for _ in pool.map(partial(_unless_there, make), paths, specs):
            advance()


def _unless_there(make: Callable[[Path, Spec], object], path: Path, spec: Spec) -> None:
    if not path.exists():
        make(path, spec)
