"""GPU: tiles per second of ResNet18 in half precision, and a slide from file to score.

    python -m benchmarks.gpu SLIDE [--device cuda] [--batch 512] [--rounds 7]

The encoder runs in torch (fp16, channels last), so that no other runtime has to be brought along.
Bytes start in pinned host memory and features end in host memory: both copies are counted. The
slide is read in batches of the same size, encoded and pooled by `deepsmile.pipeline` as ever, with
that encoder in the place of ONNX Runtime's; each of its threads has a stream, and pinned memory to
which it first copies the tiles. Goals: 60,000 tiles/s, and a slide of 3,625 tiles in 0.5 s.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.inputs import reader_for, throwaway_bundle
from benchmarks.slides import add_slide, slide_of
from deepsmile.backends import Backend
from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bag import Features
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.tile_encoder import make_encoder

ARCHITECTURE = "resnet18"
GOAL_TILES, GOAL_S, PAPER_TILES = 60_000, 0.5, 3625
STREAMS = 3


class Lane(threading.local):
    """A thread's stream on the device, and pinned memory for its tiles; of a CPU neither."""

    def __init__(self, device: torch.device, batch: int) -> None:
        on_gpu = device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if on_gpu else None
        self.tiles = torch.empty((batch, 224, 224, 3), dtype=torch.uint8, pin_memory=on_gpu)


class TorchBackend:
    """The encoder on a device, for batches up to `batch`; the head stays with ONNX Runtime."""

    def __init__(self, bundle: Bundle, device: str, batch: int) -> None:
        self.name, self.concurrency = f"torch {torch.__version__} {device}", STREAMS
        self._device = torch.device(device)
        self._dtype = torch.float16 if device == "cuda" else torch.float32
        encoder = make_encoder(ARCHITECTURE, seed=0).eval().to(self._device, self._dtype)
        self._encoder = encoder.to(memory_format=torch.channels_last)
        self._lane = Lane(self._device, batch)
        self._local = OnnxBackend(bundle, threads=1)

    def encode(self, tiles: RGB) -> Features:
        held = self._lane.tiles[: len(tiles)]  # (B, 224, 224, 3)
        return self.encode_held(held.copy_(torch.from_numpy(tiles)))

    @torch.inference_mode()
    def encode_held(self, tiles: torch.Tensor) -> Features:
        """(B, 224, 224, 3) uint8 in host memory -> (B, D) float32 in host memory.

        Ends when this thread's stream does; the others' go on.
        """
        with torch.cuda.stream(self._lane.stream):
            pixels = tiles.to(self._device, non_blocking=True).permute(0, 3, 1, 2)  # (B, 3, h, w)
            unit = pixels.to(self._dtype) / 255  # (B, 3, h, w) channels last as the bytes are
            features: Features = self._encoder.encode_unit(unit).float().cpu().numpy()  # (B, D)
        return features

    def score(
        self, head: Head, features: Features
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._local.score(head, features)


def encoding(backend: TorchBackend, batch: int, rounds: int) -> str:
    """Claim 1: one batch after the other, copies included."""
    tiles = torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8)  # (B, 224, 224, 3)
    held = tiles.pin_memory() if torch.cuda.is_available() else tiles
    for _ in range(2):
        backend.encode_held(held)
    rates = [batch / seconds(lambda: backend.encode_held(held)) for _ in range(rounds)]
    return f"{backend.name}: {told(rates, 0)} tiles/s in batches of {batch} (goal {GOAL_TILES:,})"


def whole(slide: Path, bundle: Bundle, backend: Backend, batch: int, rounds: int) -> str:
    """Claim 2: file to score, scaled to the paper's mean number of tiles."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        closing(reader_for(Path(scratch), batch)) as reader,
    ):
        source = SlideSource(slide)
        tiles = score_slide(source, bundle, backend, reader).tiles.used
        times = [
            seconds(lambda: score_slide(source, bundle, backend, reader)) for _ in range(rounds)
        ]
    scaled = statistics.median(times) * PAPER_TILES / tiles
    return (
        f"a slide of {tiles} tiles in batches of {batch}: {told(times, 2)} s;"
        f" {scaled:.2f} s at {PAPER_TILES} tiles (goal {GOAL_S})"
    )


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def told(values: list[float], digits: int) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_slide(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = throwaway_bundle(Path(folder), ARCHITECTURE, 256.0)
        backend = TorchBackend(bundle, options.device, options.batch)
        print(encoding(backend, options.batch, options.rounds), flush=True)
        slide = slide_of(options)
        print(whole(slide, bundle, backend, options.batch, options.rounds), flush=True)


if __name__ == "__main__":
    main()
