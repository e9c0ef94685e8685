"""Protocol: what every runner is told on its command line, and what it answers.

A runner runs in its peer's own environment, from the root of the repository, so nothing here
imports more than NumPy.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE_UM, TILE_PX = 256.0, 224
TILE_MPP = TILE_UM / TILE_PX

Corners = NDArray[np.float64]
"""(N, 2) top left corners (x, y), level-0 px."""


@dataclass(frozen=True)
class Order:
    """What to do."""

    slide: Path
    model: Path
    """A state dict of torchvision's ResNet18; for ours, the folder of a bundle."""
    scratch: Path
    places: Corners | None
    """Encode the tiles that lie here; None: the tissue tiles, found by the peer's own rule."""
    pixels: bool
    """Whether to keep what the network was given."""


@dataclass(frozen=True)
class Encoded:
    """What a peer made of a slide."""

    features: NDArray[np.float32]
    """(N, D)"""
    corners_l0: Corners
    pixels: NDArray[np.uint8] | None = None
    """(N, 224, 224, 3), or none kept."""


def answer(peer: str, encode: Callable[[Order], Encoded]) -> None:
    """Carry out the order on the command line: features to a file, one line of JSON to stdout."""
    started = time.perf_counter()
    order, out = order_from(sys.argv[1:])
    order.scratch.mkdir(parents=True, exist_ok=True)
    encoded = encode(order)
    save(encoded, out)
    facts = {
        "peer": peer,
        "tiles": len(encoded.features),
        "dim": encoded.features.shape[1],
        "work_s": round(time.perf_counter() - started, 3),
    }
    print(json.dumps(facts), flush=True)


def order_from(words: list[str]) -> tuple[Order, Path]:
    """The order, and where its features go."""
    parser = argparse.ArgumentParser()
    parser.add_argument("slide", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path, help="an .npz file")
    parser.add_argument("--places", type=Path, help="an .npy file of corners")
    parser.add_argument("--pixels", action="store_true")
    options = parser.parse_args(words)
    places = None if options.places is None else np.load(options.places)
    scratch = options.out.with_suffix("")
    return Order(options.slide, options.model, scratch, places, options.pixels), options.out


def last_answer(stdout: str) -> dict[str, Any]:
    """The line that `answer` printed, whatever else the peer had to say."""
    lines = [line for line in stdout.splitlines() if line.startswith('{"peer"')]
    assert lines, "the runner ended without an answer"
    facts: dict[str, Any] = json.loads(lines[-1])
    return facts


def save(encoded: Encoded, path: Path) -> None:
    arrays = {"features": encoded.features, "corners_l0": encoded.corners_l0}
    if encoded.pixels is not None:
        arrays["pixels"] = encoded.pixels
    np.savez(path, **arrays)


def load(path: Path) -> Encoded:
    with np.load(path) as arrays:
        return Encoded(arrays["features"], arrays["corners_l0"], arrays.get("pixels"))
