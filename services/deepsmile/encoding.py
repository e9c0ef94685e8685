"""Encoding: tile batches through an encoder, on as many threads as keep it busy."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from deepsmile.backends import TileEncoder
from deepsmile.bag import Features
from deepsmile.tiles import TileBatch


def encode_batches(
    batches: Iterator[TileBatch], encoder: TileEncoder
) -> Generator[tuple[NDArray[np.int32], Features]]:
    """Cells (B, 2) and features (B, D) of each batch, in order, with few of them in memory."""
    pending: deque[tuple[NDArray[np.int32], Future[Features]]] = deque()
    with ThreadPoolExecutor(encoder.concurrency) as pool:
        try:
            for batch in batches:
                pending.append((batch.cells, pool.submit(encoder.encode, batch.pixels)))
                while len(pending) > 2 * encoder.concurrency or (pending and pending[0][1].done()):
                    cells, features = pending.popleft()
                    yield cells, features.result()
            for cells, features in pending:
                yield cells, features.result()
        finally:
            pool.shutdown(cancel_futures=True)
