"""Robustness: how far a bundle's scores move when every tile changes as scanners and decoders do.

    python -m benchmarks.robustness [SLIDE ...] [--bundle demo] [--painted 24]

Slides are read and scored as they are served, once as they are and once with each change made to
the tiles before they are encoded. Without slides of yours, 24 are painted like those of the demo's
cohort, from a seed that no model has seen. Prints the largest change of a calibrated probability
and the labels that changed, for each head, and the cosine of features.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.inputs import reader_for
from benchmarks.slides import FOLDER
from deepsmile.backends.onnx import OnnxBackend, available_cores
from deepsmile.bag import Features
from deepsmile.bundle import Bundle, load_bundle
from deepsmile.pipeline import SlideSource
from deepsmile.precision import Shift
from deepsmile.settings import shipped_repository
from deepsmile.slides.slide import RGB
from deepsmile_training.cli.progress import stages
from deepsmile_training.demo.cohort import draw_cohort
from deepsmile_training.synthetic.files import make_slides
from deepsmile_training.variants.gate import Served, measure

SEED = 2029
Change = Callable[[RGB], RGB]
"""Tiles (B, h, w, 3) -> others of the same shape."""


def noisy(tiles: RGB, levels: int) -> RGB:
    """Noise of up to `levels` grey levels, drawn anew for every batch of tiles from its pixels."""
    rng = np.random.default_rng(int(tiles.sum(dtype=np.int64)))
    return shifted(tiles, rng.integers(-levels, levels, tiles.shape, np.int16, endpoint=True))


def shifted(tiles: RGB, levels: int | NDArray[np.int16]) -> RGB:
    """Brighter by `levels` grey levels."""
    return np.clip(tiles.astype(np.int16) + levels, 0, 255).astype(np.uint8)


def blurred(tiles: RGB, sigma_px: float) -> RGB:
    return np.stack([cv2.GaussianBlur(tile, (0, 0), sigma_px) for tile in tiles]).astype(np.uint8)


def compressed(tiles: RGB, quality: int) -> RGB:
    """Through JPEG."""
    wanted = [cv2.IMWRITE_JPEG_QUALITY, quality]
    coded = (cv2.imencode(".jpg", tile, wanted)[1] for tile in tiles)
    decoded = [np.asarray(cv2.imdecode(one, cv2.IMREAD_COLOR), np.uint8) for one in coded]
    return np.stack(decoded)


CHANGES: dict[str, Change] = {
    "noise of 1 grey level": partial(noisy, levels=1),
    "noise of 4 grey levels": partial(noisy, levels=4),
    "2 grey levels brighter": partial(shifted, levels=2),
    "blur of 0.5 px": partial(blurred, sigma_px=0.5),
    "JPEG of quality 80": partial(compressed, quality=80),
}


class ChangedBackend(OnnxBackend):
    """A bundle in process, whose encoder sees changed tiles."""

    def __init__(self, bundle: Bundle, threads: int, change: Change) -> None:
        super().__init__(bundle, threads)
        self.change = change

    def encode(self, tiles: RGB) -> Features:
        return super().encode(self.change(tiles))


def shifts(
    bundle: Bundle, slides: Sequence[Path], scratch: Path, changes: dict[str, Change]
) -> Iterator[tuple[str, Shift]]:
    """What each change comes to."""
    threads, sources = available_cores(), [SlideSource(path) for path in slides]
    original = Served(bundle, OnnxBackend(bundle, threads))
    with closing(reader_for(scratch)) as reader:
        for name, change in changes.items():
            changed = Served(bundle, ChangedBackend(bundle, threads, change))
            yield name, measure(sources, original, changed, reader, lambda: None)


def line_of(name: str, shift: Shift) -> str:
    heads = ", ".join(
        f"{head} {moved.calibrated:.3f} ({moved.labels_changed} labels)"
        for head, moved in shift.heads.items()
    )
    return f"{name}: {heads}; cosine {shift.cosine_mean:.4f}, at least {shift.cosine_min:.4f}"


def painted(count: int) -> list[Path]:
    folder, cores = FOLDER / "robustness", available_cores()
    with stages() as stage:
        return make_slides(draw_cohort(SEED, count), folder, cores, stage("slides", count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slides", type=Path, nargs="*")
    parser.add_argument("--bundle", default="demo")
    parser.add_argument("--repository", type=Path, default=shipped_repository())
    parser.add_argument("--painted", type=int, default=24)
    options = parser.parse_args()
    slides = options.slides or painted(options.painted)
    bundle = load_bundle(options.repository, options.bundle)
    with TemporaryDirectory() as scratch:
        for name, shift in shifts(bundle, slides, Path(scratch), CHANGES):
            print(line_of(name, shift), flush=True)


if __name__ == "__main__":
    main()
