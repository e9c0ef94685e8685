"""RealTiles: those on which an exported encoder is compared with torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepsmile.contract import FeatureContract
from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile_training.contracts import feature_contract
from deepsmile_training.encoders.agreement import TILES
from deepsmile_training.encoders.tile_encoder import TILE_PX
from deepsmile_training.tilesets.codec import TileDamaged, decode
from deepsmile_training.tilesets.recipe import SlideRules
from deepsmile_training.tilesets.sources import IMAGE_SUFFIXES
from deepsmile_training.tilesets.store import TileStore


def tiles_of_store(store: TileStore) -> RGB:
    """`TILES` tiles from all over a store, (TILES, 224, 224, 3).

    Raises:
        RequestInvalid: it has fewer, or of another size.
    """
    if store.tile_px != TILE_PX:
        raise RequestInvalid(f"the store's tiles have {store.tile_px} px, encoders take {TILE_PX}")
    return store.read(_spread(len(store), "the store"))


def tiles_of_folder(folder: Path) -> RGB:
    """`TILES` images of a folder and of those below it, (TILES, 224, 224, 3).

    Raises:
        RequestInvalid: there are fewer, or one is no tile.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return np.stack([_image(paths[i]) for i in _spread(len(paths), str(folder))])


def contract_of(store: TileStore) -> FeatureContract | None:
    """The rules that cut a store's tiles from slides; their budget is training's own."""
    rules = store.file.recipe.rules
    if not isinstance(rules, SlideRules):
        return None
    return rules.contract.model_copy(
        update={"budget": feature_contract(rules.contract.encoder).budget}
    )


def _spread(count: int, what: str) -> Sequence[int]:
    if count < TILES:
        raise RequestInvalid(f"{what} has {count} tiles; {TILES} are needed to check the export")
    return [count * number // TILES for number in range(TILES)]


def _image(path: Path) -> RGB:
    try:
        pixels = decode(path.read_bytes()).pixels  # (h, w, 3)
    except (OSError, TileDamaged) as error:
        raise _no_tile(path, "no image") from error
    if pixels.shape != (TILE_PX, TILE_PX, 3):
        raise _no_tile(path, f"{pixels.shape[1]} x {pixels.shape[0]} px")
    return pixels  # (224, 224, 3)


def _no_tile(path: Path, found: str) -> RequestInvalid:
    return RequestInvalid(f"{path}: {found}; a tile is {TILE_PX} x {TILE_PX} px")
