"""Precision: tiles per second of an encoder in int8 against fp32, and how alike their features are.

    python -m benchmarks.precision [SLIDE] [--rounds 7]

Both as `deepsmile` runs them: caller threads x intra_op 1, batches of 4, bytes in, normalisation
inside the graph. Rounds are interleaved and the ratio is taken inside each round. The int8 graph is
the one that `deepsmile-train precision` makes, with ranges from half of the tiles; the cosine is
over the other half, and so is that of fp16 in PyTorch. Goals: ResNet18 1.7, ShuffleNetV2 1.3,
cosine 0.999.

Trained weights of ResNet18 are not to be had without a download, so both architectures have
He-initialised weights with settled batch norms: right for the speed; the cosine is then that of
a network which amplifies every rounding. The demo bundle's encoder is a trained ShuffleNetV2.
"""

import argparse
import copy
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.encoding import BATCH, rate
from benchmarks.inputs import contract_of, reader_for
from benchmarks.slides import add_slide, slide_of
from deepsmile.backends.onnx import OnnxEncoder, available_cores
from deepsmile.bundle import load_bundle
from deepsmile.contract import Budget
from deepsmile.precision import CPU_FACTS, saturates
from deepsmile.settings import shipped_repository
from deepsmile.slides.slide import RGB
from deepsmile.tiles import TileBatch
from deepsmile_training.encoders.embedding import embed, torch_encode
from deepsmile_training.encoders.tile_encoder import (
    TileEncoder,
    export_encoder,
    make_encoder,
    settle_batch_norm,
)
from deepsmile_training.variants.gate import cosine
from deepsmile_training.variants.precision import SPARED_BITS, WEIGHT_BITS, write_int8

TILES = 128
GOALS = {"resnet18": 1.7, "shufflenet_v2_x1_0": 1.3, "demo": 1.3}


def tissue_tiles(slide: Path, scratch: Path) -> RGB:
    """As many as `TILES`, from all over the slide, (n, 224, 224, 3)."""
    reader = reader_for(scratch)
    rules = contract_of(256.0).model_copy(update={"budget": Budget(max_tiles=TILES, seed=0)})
    found = [event.pixels for event in reader.read(slide, rules) if isinstance(event, TileBatch)]
    reader.close()
    return np.concatenate(found)


def encoders(folder: Path, tiles: RGB) -> Iterator[tuple[str, Path]]:
    """Name and ONNX file of each."""
    for name in ("resnet18", "shufflenet_v2_x1_0"):
        encoder = make_encoder(name, 0)
        pixels = torch.from_numpy(tiles)
        encoder.normalise_for(pixels)
        settle_batch_norm(encoder, pixels)
        path = folder / f"{name}.onnx"
        export_encoder(encoder, path)
        alike = cosine_in_fp16(encoder, tiles[1::2])
        print(
            f"{name}, fp16: cosine {alike.mean():.5f} on average, {alike.min():.5f} at least",
            flush=True,
        )
        yield name, path
    yield "demo", load_bundle(shipped_repository(), "demo").encoder_path


@torch.no_grad()
def cosine_in_fp16(encoder: TileEncoder, tiles: RGB) -> np.ndarray:
    """(n,) features against those rounded to fp16 throughout, which PyTorch does on a CPU too."""
    unit = torch.from_numpy(tiles).permute(0, 3, 1, 2).half() / 255  # (n, 3, h, w)
    half = copy.deepcopy(encoder).half().encode_unit(unit)  # (n, D)
    return cosine(embed(torch_encode(encoder), tiles), half.float().numpy())


def encode(encoder: OnnxEncoder, tiles: RGB) -> np.ndarray:
    parts = [encoder.encode(tiles[k : k + BATCH]) for k in range(0, len(tiles), BATCH)]
    return np.concatenate(parts)


def compare(name: str, path: Path, tiles: RGB, rounds: int, recipe: tuple[int, bool]) -> str:
    """One line: the ratio of speeds, and the cosine."""
    threads = available_cores()
    bits, spare_first = recipe
    with tempfile.NamedTemporaryFile(suffix=".onnx") as int8_file:
        write_int8(path, Path(int8_file.name), tiles[::2], bits, spare_first=spare_first)
        fp32, int8 = (OnnxEncoder(file, threads) for file in (path, Path(int8_file.name)))
    alike = cosine(encode(fp32, tiles[1::2]), encode(int8, tiles[1::2]))
    speeds = []
    for _ in range(rounds):
        work = (partial(encoder.encode, tiles[:BATCH]) for encoder in (fp32, int8))
        speeds.append([rate(one, BATCH, threads) for one in work])
    ratios = [fast / slow for slow, fast in speeds]
    slow, fast = (statistics.median(column) for column in zip(*speeds, strict=True))
    return (
        f"{name}, {bits}-bit weights{', first layer in fp32' * spare_first}:"
        f" {statistics.median(ratios):.2f} x fp32 ({min(ratios):.2f} to"
        f" {max(ratios):.2f}; {slow:.0f} and {fast:.0f} tiles/s on {threads} threads; goal"
        f" {GOALS[name]}); cosine {alike.mean():.5f} on average, {alike.min():.5f} at least, on"
        f" {len(alike)} tiles"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_slide(parser)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"sums of 8-bit weights may saturate here: {saturates(CPU_FACTS.read_text())}")
    with tempfile.TemporaryDirectory() as folder:
        slide = slide_of(arguments)
        tiles = tissue_tiles(slide, Path(folder) / "scratch")
        for name, path in encoders(Path(folder), tiles):
            for recipe in [*((bits, False) for bits in WEIGHT_BITS), (SPARED_BITS, True)]:
                print(compare(name, path, tiles, arguments.rounds, recipe), flush=True)


if __name__ == "__main__":
    main()
