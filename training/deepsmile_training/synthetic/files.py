"""Files: slides made side by side in processes of their own; those already there are kept."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2

from deepsmile_training.synthetic.slide import make_slide
from deepsmile_training.synthetic.specimen import SlideSpec

SUFFIX = {"aperio": ".svs", "generic": ".tif"}


def make_slides(
    specs: Sequence[SlideSpec], folder: Path, workers: int, advance: Callable[[], None]
) -> list[Path]:
    """Slide files of all specimens, in their order; a slide depends on its specimen alone."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"slide-{k:04d}{SUFFIX[spec.layout]}" for k, spec in enumerate(specs)]
    context = get_context("spawn")  # a fork would take the threads' locks along
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        for _ in pool.map(_make_missing, paths, specs):
            advance()
    return paths


def _make_missing(path: Path, spec: SlideSpec) -> None:
    if not path.exists():
        make_slide(path, spec)
