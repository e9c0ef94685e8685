"""Scanner: light to a slide file: glass, noise, microns per pixel, a JPEG pyramid."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from deepsmile_training.synthetic.painting import RGB
from deepsmile_training.synthetic.specimen import SlideSpec

LEVELS = 3
NOISE_PX = 512
"""Side of the noise pattern, repeated over the slide."""
UM_PER_CM = 10_000.0


def scan(spec: SlideSpec, light: NDArray[np.float32]) -> RGB:
    """Transmitted light at 1 um per px (h, w, 3) to pixels at the scanner's mpp, (H, W, 3)."""
    rng = np.random.default_rng([spec.seed, 5])
    lamp = spec.glass_grey + rng.uniform(-1, 1, 3)  # (3,)
    exposed = (light * lamp.astype(np.float32) + 0.5).astype(np.uint8)  # (h, w, 3)
    size = (round(light.shape[1] / spec.mpp), round(light.shape[0] / spec.mpp))
    zoomed = cv2.resize(exposed, size, interpolation=cv2.INTER_CUBIC)  # (H, W, 3)
    noise = _noise(rng, spec.noise)  # (n, n, 3)
    cv2.add(zoomed, _repeated(np.maximum(noise, 0), size), dst=zoomed)
    cv2.subtract(zoomed, _repeated(np.maximum(-noise, 0), size), dst=zoomed)
    return np.asarray(zoomed, np.uint8)


def _noise(rng: np.random.Generator, sigma: float) -> NDArray[np.float64]:
    """Mostly brightness, a little colour, (NOISE_PX, NOISE_PX, 3) whole grey levels."""
    bright = rng.normal(0, sigma, (NOISE_PX, NOISE_PX, 1))  # (n, n, 1)
    colour = rng.normal(0, 0.3 * sigma, (NOISE_PX, NOISE_PX, 3))  # (n, n, 3)
    return np.round(bright + colour)


def _repeated(pattern: NDArray[np.float64], size: tuple[int, int]) -> RGB:
    """The pattern laid side by side over `size` = (width, height), (H, W, 3)."""
    repeats = (size[1] // NOISE_PX + 1, size[0] // NOISE_PX + 1, 1)
    return np.tile(pattern.astype(np.uint8), repeats)[: size[1], : size[0]]


def write_slide(path: Path, spec: SlideSpec, pixels: RGB) -> None:
    """A tiled JPEG pyramid, each level half the last, with mpp where its layout keeps it."""
    with tifffile.TiffWriter(path) as writer:
        for level in range(LEVELS):
            size = (pixels.shape[1] >> level, pixels.shape[0] >> level)
            page = pixels if level == 0 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            writer.write(
                page,
                tile=(256, 256),
                compression="jpeg",
                compressionargs={"level": spec.quality},
                photometric="rgb",
                subfiletype=int(level > 0),
                metadata=None,
                software="deepsmile-train",
                **_stated_mpp(spec, level, size),
            )


def _stated_mpp(spec: SlideSpec, level: int, size: tuple[int, int]) -> dict[str, Any]:
    """Aperio's description, or the resolution tags of plain TIFF."""
    if spec.layout == "aperio":
        text = f"Aperio Image Library (imitated)\r\n{size[0]}x{size[1]} (256x256) JPEG/RGB"
        return {"description": text + (f"|AppMag = 20|MPP = {spec.mpp:g}" if level == 0 else "")}
    per_cm = UM_PER_CM / spec.mpp / 2**level
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
