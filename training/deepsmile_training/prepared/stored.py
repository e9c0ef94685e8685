"""Stored: a tile store's tiles as feature bags, encoded as serving encodes those it reads."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deepsmile.backends import TileEncoder
from deepsmile.bag import FeatureBag, in_reading_order, save_bag
from deepsmile.contract import Encoder, FeatureContract
from deepsmile.encoding import encode_batches
from deepsmile.errors import RequestInvalid
from deepsmile.frozen import Frozen
from deepsmile.tiles import TileBatch
from deepsmile_training.extraction import own_bag
from deepsmile_training.tilesets.recipe import TileRecipe
from deepsmile_training.tilesets.store import TileStore


class StoredContract(Frozen):
    """From a tile store's slide to a bag of features; never a slide file's, whatever the tiles."""

    store: TileRecipe
    encoder: Encoder


BagContract = FeatureContract | StoredContract


def contract_for(store: TileStore, features: FeatureContract) -> StoredContract:
    """A store's tiles by the encoder of `features`. Raises RequestInvalid if they do not fit it."""
    if store.tile_px != features.tile.size_px:
        raise RequestInvalid(
            f"the store has tiles of {store.tile_px} px, and {features.encoder.name} takes"
            f" {features.tile.size_px}",
            hint="Pack the tiles that the encoder was made for.",
        )
    return StoredContract(store=store.file.recipe, encoder=features.encoder)


def stored_bag(
    store: TileStore,
    index: int,
    *,
    saved: Path,
    contract: StoredContract,
    encoder: TileEncoder,
    batch: int,
) -> FeatureBag:
    """The bag of `saved` if it is of slide `index`, or else made, `batch` tiles a call, and saved.

    Places are counted in tiles, since a store does not keep where a slide's grid begins.

    Raises:
        BagCorrupt, TilesCorrupt: `saved`, or the store, is damaged.
        RequestInvalid: `saved` is of other rules.
    """
    sha256 = store.slides[index].sha256
    if saved.exists():
        kept = own_bag(saved, contract.digest)
        if kept.slide_sha256 == sha256:
            return kept
    made = list(encode_batches(_batches(store, index, batch), encoder))
    features, cells = in_reading_order(
        [features for _, features in made],
        [cells for cells, _ in made],
        contract.encoder.feature_dim,
    )
    bag = FeatureBag(features, cells, (0.0, 0.0), (1.0, 1.0), sha256, contract.digest)
    save_bag(bag, saved)
    return bag


def _batches(store: TileStore, index: int, size: int) -> Iterator[TileBatch]:
    first, end = np.searchsorted(store.slide_index, [index, index + 1]).tolist()
    for start in range(first, end, size):
        stop = min(start + size, end)
        pixels = store.read(range(start, stop))  # (B, s, s, 3)
        yield TileBatch(store.cells[start:stop], pixels, end - stop)
