"""Agreement: how near an exported encoder's features are to torch's, on real tiles."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.embedding import embed, onnx_encode, torch_encode
from deepsmile_training.encoders.tile_encoder import TileEncoder
from deepsmile_training.variants.gate import cosine
from deepsmile_training.variants.precision import write_fp16

BATCHES = (1, 3, 64)
TILES = max(BATCHES)
LARGEST_DIFFERENCE = 1e-4
"""Of any feature in fp32, if none is above 1; else of the largest one, a share of it."""
UNSETTLED = 1000.0
"""Features as large as this are a sign of norms that no training settled."""
LEAST_COSINE = 0.999
"""Of any tile's features in fp16 with torch's in fp32."""


@dataclass(frozen=True)
class Agreement:
    """What was measured; the fp16 graph as ONNX Runtime runs it on a CPU.

    There it rounds weights to fp16 and computes between casts; a GPU also adds up in fp16.
    """

    tiles: int
    batches: tuple[int, ...]
    difference: float
    """Largest absolute one of any feature, fp32."""
    largest: float
    """Feature, by absolute value."""
    cosine_fp16: float
    """Least of any tile."""

    def demand(self, *, fp16: bool) -> None:
        """Raises RequestInvalid where a bound does not hold; that of fp16 only if asked."""
        bound = LARGEST_DIFFERENCE * max(1.0, self.largest)
        if not self.difference < bound:
            raise RequestInvalid(
                f"exported features differ from torch's by up to {self.difference:.1e}, where they"
                f" are up to {self.largest:.3g}; the bound is {bound:.3g}",
                hint=f"Nothing was written. {self._suspicion()}",
            )
        if fp16 and not self.cosine_fp16 > LEAST_COSINE:
            raise RequestInvalid(
                f"in fp16 a tile's features have a cosine of only {self.cosine_fp16:.6f} with"
                f" torch's; the bound is {LEAST_COSINE:g}",
                hint="Nothing was written. --no-fp16 does without: serve it in fp32 only.",
            )

    def _suspicion(self) -> str:
        if self.largest < UNSETTLED:
            return "The exported graph computes something else: report it with the backbone's name."
        return "Features of thousands are a sign of unsettled norms."


def measure(encoder: TileEncoder, model: Path, tiles: RGB) -> Agreement:
    """Compare `model` with `encoder` on tiles (n, 224, 224, 3), in batches of several sizes."""
    expected = embed(torch_encode(encoder), tiles)  # (n, D)
    exported = onnx_encode(model)
    found = [embed(exported, tiles, batch=batch) for batch in BATCHES]  # (n, D) each
    with TemporaryDirectory() as folder:
        write_fp16(model, Path(folder, "half.onnx"))
        half = embed(onnx_encode(Path(folder, "half.onnx")), tiles)  # (n, D)
    return Agreement(
        tiles=len(tiles),
        batches=BATCHES,
        difference=max(float(np.abs(one - expected).max()) for one in found),
        largest=float(np.abs(expected).max()),
        cosine_fp16=float(cosine(expected, half).min()),
    )
