"""Likeness: features of the same tiles by two tools, and what makes the difference."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.pixels import OURS, candidates, nearest
from benchmarks.peers.places import cosines, pair
from benchmarks.peers.protocol import Corners, Encoded
from deepsmile.backends import TileEncoder
from deepsmile.bag import Features
from deepsmile.slides.slide import RGB

BATCH = 4
ASIDE_PX = 4
"""Level-0 px; 1 um at 0.25 um per px. Rounding to pixels of a level moves a tile by less."""


@dataclass(frozen=True)
class Alike:
    """Cosines over tiles."""

    mean: float
    least: float

    @classmethod
    def of(cls, a: Features, b: Features) -> "Alike":
        found = cosines(a, b)  # (n,)
        return cls(float(found.mean()), float(found.min()))

    def __str__(self) -> str:
        return f"{self.mean:.5f} ({self.least:.5f})"


@dataclass(frozen=True)
class Likeness:
    """A peer's features beside ours."""

    tiles: int
    """At the same place."""
    apart_px: float
    """Most that two corners lie apart, level-0 px."""
    features: Alike
    """Each tool by its own road."""
    same_pixels: Alike
    """The peer's pixels through both networks: what is no pixels' fault."""
    nearest: str
    """How the peer reads and shrinks, as far as the candidates tell."""
    nearest_db: float
    """How near that candidate's pixels are to the peer's."""
    explained: Alike
    """That candidate's pixels through our network, against the peer's features."""


def encode(encoder: TileEncoder, tiles: RGB) -> Features:
    """Batch by batch, (N, D)."""
    starts = range(0, len(tiles), BATCH)
    return np.concatenate([encoder.encode(tiles[start : start + BATCH]) for start in starts])


def compare(slide: Path, ours: Encoded, theirs: Encoded, encoder: TileEncoder) -> Likeness:
    """A peer's features and pixels against our features; `encoder` is our network alone."""
    pairs = pair(ours.corners_l0, theirs.corners_l0)
    assert len(pairs.ours), "no tile of the peer lies where one of ours does"
    assert theirs.pixels is not None, "the peer was to keep its pixels"
    features, pixels = theirs.features[pairs.theirs], theirs.pixels[pairs.theirs]
    best, best_db = nearest(slide, theirs.corners_l0[pairs.theirs], pixels)
    return Likeness(
        tiles=len(pairs.ours),
        apart_px=float(np.abs(pairs.apart_px).max()),
        features=Alike.of(ours.features[pairs.ours], features),
        same_pixels=Alike.of(encode(encoder, pixels), features),
        nearest=str(best),
        nearest_db=best_db,
        explained=Alike.of(encode(encoder, best.tiles), features),
    )


def choices(slide: Path, corners: Corners, encoder: TileEncoder) -> Iterator[tuple[str, Alike]]:
    """What each choice by itself does to our features: another kernel, level, or place."""
    made = list(candidates(slide, corners))
    base = [one for one in made if one.kernel == OURS][-1]
    features = encode(encoder, base.tiles)  # (N, D)
    for one in made:
        if one is not base:
            yield str(one), Alike.of(features, encode(encoder, one.tiles))
    *_, aside = candidates(slide, corners + ASIDE_PX, [OURS])
    yield f"{base}, {ASIDE_PX} px aside", Alike.of(features, encode(encoder, aside.tiles))
