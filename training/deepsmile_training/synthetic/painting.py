"""Painting: the two stains of a specimen, and their colours, at 1 um per px."""

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile_training.synthetic.anatomy import Anatomy
from deepsmile_training.synthetic.fields import Field, fibres, grain, smooth_field
from deepsmile_training.synthetic.nuclei import Nuclei
from deepsmile_training.synthetic.specimen import SlideSpec

RGB = NDArray[np.uint8]
HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062])
EOSIN = np.array([0.2159, 0.8012, 0.5581])
"""Optical density of the stains in R, G, B: the reference vectors of Macenko et al. 2009."""
BLUER = np.array([0.03, 0.0, -0.04])
"""One standard deviation of a slide's tint."""
OUTLINE_POINTS = 14
SUBPIXEL_BITS = 4


def paint(spec: SlideSpec, anatomy: Anatomy, nuclei: Nuclei) -> NDArray[np.float32]:
    """Transmitted light, (h, w, 3), 1 = bare glass, at 1 um per px."""
    rng = np.random.default_rng([spec.seed, 4])
    chromatin = draw_nuclei_map(rng, nuclei, anatomy.shape)  # (h, w)
    presence = _presence(anatomy)  # (h, w)
    eosin = _eosin(rng, anatomy, chromatin, presence) * spec.eosin  # (h, w)
    haematoxylin = _haematoxylin(rng, anatomy, chromatin, presence) * spec.haematoxylin  # (h, w)
    h_vector, e_vector = HAEMATOXYLIN + BLUER * spec.tint[0], EOSIN + BLUER * spec.tint[1]
    channels = [
        np.exp(haematoxylin * np.float32(-h) - eosin * np.float32(e))  # (h, w)
        for h, e in zip(h_vector, e_vector, strict=True)
    ]
    return np.asarray(cv2.merge(channels), np.float32)  # (h, w, 3)


def draw_nuclei_map(rng: np.random.Generator, nuclei: Nuclei, shape: tuple[int, int]) -> Field:
    """How much chromatin, 0 to 1, (h, w): dark rim, paler inside, nucleoli in the larger ones."""
    canvas = np.zeros(shape, np.uint8)  # (h, w)
    outlines = _outlines(rng, nuclei)  # (N, P, 2)
    darkness = rng.uniform(150, 245, len(nuclei))  # (N,)
    centres = np.stack([nuclei.x, nuclei.y], axis=1)[:, None]  # (N, 1, 2)
    inner = centres + 0.66 * (outlines - centres)  # (N, P, 2)
    off_centre = rng.normal(0, 0.12, (len(nuclei), 2)) * nuclei.diameter_um[:, None]  # (N, 2)
    spots = _fixed(centres[:, 0] + off_centre)  # (N, 2)
    whole, core = _fixed(outlines), _fixed(inner)
    for k, dark in enumerate(darkness.tolist()):
        _fill(canvas, whole[k], dark)
        _fill(canvas, core[k], 0.74 * dark)
        if nuclei.diameter_um[k] > 8.5:
            radius = int(0.11 * nuclei.diameter_um[k] * 2**SUBPIXEL_BITS)
            cv2.circle(
                canvas, spots[k].tolist(), radius, dark, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS
            )
    texture = 1 + 0.16 * grain(rng, shape, 0.9)  # (h, w)
    return (canvas.astype(np.float32) / 255 * texture).astype(np.float32)


def _fill(canvas: RGB, outline: NDArray[np.int32], value: float) -> None:
    cv2.fillConvexPoly(canvas, outline, value, cv2.LINE_AA, SUBPIXEL_BITS)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Fixed-point coordinates for OpenCV's subpixel drawing."""
    return np.asarray(np.round(points * 2**SUBPIXEL_BITS), np.int32)


def _outlines(rng: np.random.Generator, nuclei: Nuclei) -> NDArray[np.float64]:
    """(N, P, 2) outlines: ellipses with dents, whose area is that of the diameter."""
    n = len(nuclei)
    t = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)  # (P,)
    dents = np.ones((n, OUTLINE_POINTS))  # (N, P)
    for harmonic, size in ((2, 0.05), (3, 0.05), (4, 0.03)):
        phase = rng.uniform(0, 2 * np.pi, (n, 1))  # (N, 1)
        dents += size * rng.normal(size=(n, 1)) * np.cos(harmonic * t + phase)  # (N, P)
    radius = (nuclei.diameter_um / 2)[:, None] * dents  # (N, P)
    stretch = np.sqrt(nuclei.aspect)[:, None]  # (N, 1)
    u, v = radius * np.cos(t) * stretch, radius * np.sin(t) / stretch  # (N, P) each
    cos, sin = np.cos(nuclei.angle)[:, None], np.sin(nuclei.angle)[:, None]  # (N, 1) each
    x = nuclei.x[:, None] + u * cos - v * sin  # (N, P)
    y = nuclei.y[:, None] + u * sin + v * cos  # (N, P)
    return np.stack([x, y], axis=2)


def _eosin(rng: np.random.Generator, anatomy: Anatomy, chromatin: Field, presence: Field) -> Field:
    """Fibres in the stroma, smooth cytoplasm in the nests, nothing in clefts and lumens, (h, w)."""
    strands = fibres(rng, anatomy.bend)  # (h, w)
    stroma = 0.42 + 0.09 * strands  # (h, w)
    stroma *= np.clip((strands + 2.4) * 2.5, 0.1, 1)  # (h, w) clefts between the fibres
    cytoplasm = 0.36 + 0.05 * grain(rng, anatomy.shape, 2.5)  # (h, w)
    amount = stroma + anatomy.nests * (cytoplasm - stroma)  # (h, w)
    amount *= 1 + 0.15 * smooth_field(rng, anatomy.shape, 500)  # (h, w)
    amount *= 1 - 0.6 * np.minimum(chromatin * 1.4, 1)  # (h, w)
    return np.asarray(amount * presence, np.float32)


def _haematoxylin(
    rng: np.random.Generator, anatomy: Anatomy, chromatin: Field, presence: Field
) -> Field:
    """Chromatin, and a violet haze of cytoplasm in the nests, (h, w)."""
    haze = 0.13 + 0.03 * grain(rng, anatomy.shape, 3.0)  # (h, w)
    return np.asarray((anatomy.nests * haze + 0.03) * presence + 1.25 * chromatin, np.float32)


def _presence(anatomy: Anatomy) -> Field:
    """1 where there is tissue and no lumen, soft at the edges, (h, w)."""
    solid = (anatomy.tissue & ~anatomy.lumens).astype(np.float32)  # (h, w)
    return np.asarray(cv2.GaussianBlur(solid, (0, 0), 1.5), np.float32)
