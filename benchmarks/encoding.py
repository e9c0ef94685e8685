"""Encoding: GFLOP/s of the encoder in ONNX Runtime against the machine's own sgemm.

    python -m benchmarks.encoding [--rounds 7]

As `deepsmile` runs it: caller threads x intra_op 1, graph optimisation on, batches of 4. The
sgemm is OpenBLAS's through numpy, 1,536 square, on as many threads; rounds are interleaved and
the ratio is taken inside each round. Goals: ResNet18 0.9, ShuffleNetV2 0.55.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from benchmarks.inputs import ARCHITECTURES, GMAC, throwaway_bundle
from deepsmile.backends.onnx import OnnxBackend, available_cores

BATCH = 4
SIDE = 1536
SECONDS = 1.5


def rate(work: Callable[[], object], gflop: float, threads: int) -> float:
    """GFLOP/s of `work` called over and over from `threads` threads for a while."""
    work()
    deadline = time.perf_counter() + SECONDS

    def repeat(_: int) -> int:
        calls = 0
        while time.perf_counter() < deadline:
            work()
            calls += 1
        return calls

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        calls = sum(pool.map(repeat, range(threads)))
    return calls * gflop / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    threads = available_cores()
    rng = np.random.default_rng(0)
    left, right = (rng.random((SIDE, SIDE), np.float32) for _ in range(2))
    tiles = rng.integers(0, 255, (BATCH, 224, 224, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for name in ARCHITECTURES:
            backend = OnnxBackend(throwaway_bundle(Path(folder), name, 256.0), threads)
            sgemm, encoder = [], []
            encode = partial(backend.encode, tiles)
            for _ in range(rounds):
                sgemm.append(rate(lambda: left @ right, 2 * SIDE**3 / 1e9, threads))
                encoder.append(rate(encode, 2 * GMAC[name] * BATCH, threads))
            ratios = [e / s for e, s in zip(encoder, sgemm, strict=True)]
            each = 2 * GMAC[name] / statistics.median(encoder) * 1e3
            print(
                f"{name}: {statistics.median(ratios):.2f} of sgemm ({min(ratios):.2f} to"
                f" {max(ratios):.2f}; {statistics.median(encoder):.0f} of"
                f" {statistics.median(sgemm):.0f} GFLOP/s on {threads} threads;"
                f" {each:.2f} ms a tile)"
            )


if __name__ == "__main__":
    main()
