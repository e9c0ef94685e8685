"""Tissue: labelled tiles for a short run, real ones where they are, else painted ones."""

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.probe import Names
from tests.training.pretraining.conftest import HeldTiles

REAL = Path(__file__).parents[3] / ".." / "shared" / "data" / "ssl_tiles"
EVERY, TILE_PX = 10, 32
SLIDES, TILES_PER_SLIDE = 12, 21


@dataclass(frozen=True)
class Tissue:
    """About 250 tiles of 32 px."""

    tiles: HeldTiles
    slides: Names
    cases: Names
    organs: Names


def some_tissue() -> Tissue:
    """Every tenth of the real tiles; in a clone of the project, which has none, painted ones."""
    return _real() if REAL.is_dir() else painted()


def _real() -> Tissue:
    of_slide = {row["slide"]: row for row in _table("slides.csv")}
    rows = _table("tiles.csv")[::EVERY]
    slides = [row["slide"] for row in rows]
    return Tissue(
        HeldTiles(np.stack([_small(_read(REAL / row["file"])) for row in rows])),
        np.array(slides),
        np.array([of_slide[slide]["case"] for slide in slides]),
        np.array([of_slide[slide]["organ"] for slide in slides]),
    )


def painted() -> Tissue:
    """Twelve slides of tints of their own; each two are of one organ, with its kind of nuclei."""
    rng = np.random.default_rng(0)
    tiles, slides, organs = [], [], []
    for slide in range(SLIDES):
        organ = slide // 2
        tint = np.array([225, 185, 205]) + rng.normal(0, 12, 3)  # (3,)
        for _ in range(TILES_PER_SLIDE):
            ground = np.clip(tint + rng.normal(0, 5, 3), 0, 255)  # (3,)
            tiles.append(_small(_painted(rng, ground, organ)))
            slides.append(f"slide{slide}")
            organs.append(f"organ{organ}")
    names = np.array(slides)
    return Tissue(HeldTiles(np.stack(tiles)), names, names, np.array(organs))


def _painted(rng: np.random.Generator, ground: np.ndarray, organ: int) -> RGB:
    """(64, 64, 3): from many small nuclei (organ 0) to few large ones (organ 5)."""
    clouds = cv2.GaussianBlur(rng.normal(0, 60, (64, 64)), (0, 0), 6)  # (64, 64)
    image = np.clip(ground + clouds[..., None], 0, 255).astype(np.uint8)  # (64, 64, 3)
    radius, colour = 2 * (1.2 + 0.45 * organ), (ground * [0.5, 0.4, 0.7]).tolist()
    for _ in range(max(1, rng.poisson(26 - 3.2 * organ))):
        x, y = (int(16 * place) for place in rng.integers(0, 64, 2))
        size = int(16 * radius * rng.uniform(0.8, 1.2))
        cv2.circle(image, (x, y), size, colour, -1, cv2.LINE_AA, 4)
    return image


def _table(name: str) -> list[dict[str, str]]:
    with (REAL / name).open(newline="") as file:
        return list(csv.DictReader(file))


def _read(path: Path) -> RGB:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def _small(pixels: RGB) -> RGB:
    return cv2.resize(pixels, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
