"""Fixtures of the tile sets' tests: folders of tile images, and what presses them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepsmile.reading import Reader, ReaderLimits
from deepsmile_training.tilesets.pressing import Press
from deepsmile_training.tilesets.recipe import ImageRules, TileRecipe

PX = 224


def tile_pixels(seed: int, px: int = PX) -> np.ndarray:
    """(px, px, 3) uint8 of blurred noise, different for each seed."""
    coarse = np.random.default_rng(seed).integers(60, 250, (8, 8, 3), np.uint8)  # (8, 8, 3)
    return cv2.resize(coarse, (px, px), interpolation=cv2.INTER_CUBIC)


def write_image(path: Path, pixels: np.ndarray) -> Path:
    """RGB pixels as an image file; its suffix says which."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1])
    return path


def no_stage(what: str, total: int) -> Callable[[], None]:
    """Nobody is told."""
    return lambda: None


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Three slides with 2, 3 and 4 JPEG tiles."""
    for slide in range(3):
        for tile in range(slide + 2):
            pixels = tile_pixels(10 * slide + tile)
            write_image(tmp_path / "images" / f"slide{slide}" / f"{tile}.jpg", pixels)
    return tmp_path / "images"


def press_in(folder: Path, **changes: object) -> Press:
    """A press of tile images, as they are, on one thread, unless told otherwise."""
    given = {"encoding": "files", "rules": ImageRules(), **changes}
    verify, workers = given.pop("verify", False), given.pop("workers", 1)
    limits = ReaderLimits(folder.with_name("scratch"), 4 << 30, 60, 30.0)
    recipe = TileRecipe.model_validate(given)
    return Press(folder, recipe, lambda: Reader(limits, batch=4), workers, verify=verify)
