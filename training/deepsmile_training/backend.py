"""Backend: the exported encoder alone, run as serving runs it, before any head exists.

To be replaced by `OnnxBackend` itself once that takes an encoder without heads; until then
this is the one place where training opens a session, and it borrows serving's own options.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsmile.backends.onnx import _session
from deepsmile.bag import Features
from deepsmile.contract import Head
from deepsmile.errors import BundleMismatch
from deepsmile.slides.slide import RGB


class EncoderBackend:
    """Encodes tiles; has no heads to score with."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.name = f"encoder {path.name}"
        self.concurrency = threads
        self._encoder = _session(path, threads=1)

    def encode(self, tiles: RGB) -> Features:
        features: Features = self._encoder.run(None, {"tiles": tiles})[0]  # (B, D)
        return features

    def score(
        self, head: Head, features: Features
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        raise BundleMismatch(f"no head {head.name}: this backend only encodes")
