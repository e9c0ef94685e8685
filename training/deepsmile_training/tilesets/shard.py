"""Shard: the tiles of one slide in one file, and an index that says where each begins.

The index is written after the tiles: a shard that has one is whole.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import DAMAGE
from deepsmile.disk import replacing
from deepsmile.errors import BagCorrupt
from deepsmile.frozen import Frozen
from deepsmile.slides.slide import RGB
from deepsmile_training.tilesets.codec import Data, TileDamaged, decode_into
from deepsmile_training.tilesets.recipe import Encoding

NO_CELL = (-1, -1)
"""Of a tile image: where it lies is said by its name, if at all."""


class TilesCorrupt(BagCorrupt):
    """A file of a tile store is damaged."""

    hint = "Delete the file and pack again with the same command: only its slide is read anew."


class Dropped(Frozen):
    """A slide, or a tile image of it, that is not in the store."""

    slide: str
    tile: str | None
    code: str
    detail: str


@dataclass(frozen=True)
class Tile:
    """A tile on its way into a shard."""

    data: Data
    cell: tuple[int, int] = NO_CELL
    """Column and row on the slide's grid."""
    name: str = ""
    """Of the image file."""


class ShardFacts(Frozen):
    """What a shard was made of."""

    stamp: str
    """Of the source's files: names, sizes and times."""
    slide_sha256: str
    tiles_sha256: str
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True)
class ShardIndex:
    """Where the tiles lie."""

    offsets: NDArray[np.int64]
    """(n + 1,) byte at which each tile begins, and the file's size"""
    cells: NDArray[np.int32]
    """(n, 2) column and row; -1 for tile images"""
    names: NDArray[np.str_]
    """(n,) names of the image files; empty for tiles of slides"""
    facts: ShardFacts

    def __len__(self) -> int:
        return len(self.cells)


@dataclass
class TileCounter:
    """What is known of tiles that have gone into a file."""

    offsets: list[int]
    cells: list[tuple[int, int]]
    names: list[str]
    sha256: str = ""


def write_tiles(path: Path, tiles: Iterable[Tile]) -> TileCounter:
    """Write tiles one after the other; whatever stops this leaves no shard behind."""
    index_path(path).unlink(missing_ok=True)  # it would describe other tiles
    counter, sha = TileCounter([0], [], []), hashlib.sha256()
    with replacing(path) as file:
        for tile in tiles:
            file.write(tile.data)
            sha.update(tile.data)
            counter.offsets.append(file.tell())
            counter.cells.append(tile.cell)
            counter.names.append(tile.name)
    counter.sha256 = sha.hexdigest()
    return counter


def write_index(path: Path, counter: TileCounter, facts: ShardFacts) -> ShardIndex:
    """Finish the shard at `path`."""
    index = ShardIndex(
        offsets=np.array(counter.offsets, np.int64),
        cells=np.array(counter.cells, np.int32).reshape(-1, 2),
        names=np.array(counter.names, np.str_),
        facts=facts,
    )
    with replacing(index_path(path)) as file:
        np.savez(
            file,
            offsets=index.offsets,
            cells=index.cells,
            names=index.names,
            facts=np.array(facts.model_dump_json()),
        )
    return index


def index_path(path: Path) -> Path:
    """The index of the tiles at `path`."""
    return path.with_suffix(".npz")


def load_index(path: Path) -> ShardIndex:
    """The index of the shard at `path`.

    Raises:
        TilesCorrupt: it is damaged or missing, or the tiles have another length than it says.
    """
    name = index_path(path).name
    try:
        with (
            index_path(path).open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            index = _index_of(dict(arrays))
        size = path.stat().st_size
    except DAMAGE as error:
        raise TilesCorrupt(f"{name}: {type(error).__name__}: {error}") from error
    if size != index.offsets[-1]:
        raise TilesCorrupt(f"{path.name}: {size} bytes, not {index.offsets[-1]}")
    return index


def _index_of(arrays: dict[str, NDArray[Any]]) -> ShardIndex:
    offsets, cells, names = arrays["offsets"], arrays["cells"], arrays["names"]
    fits = offsets.dtype == np.int64 and cells.dtype == np.int32 and names.dtype.kind == "U"
    n = len(names)
    if not fits or offsets.shape != (n + 1,) or cells.shape != (n, 2) or np.any(offsets[:1]):
        raise ValueError(f"offsets {offsets.shape}, cells {cells.shape}, names {names.shape}")
    if np.any(np.diff(offsets) <= 0):
        raise ValueError("offsets that do not rise")
    return ShardIndex(offsets, cells, names, ShardFacts(**json.loads(str(arrays["facts"]))))


@dataclass(frozen=True)
class Shard:
    """A shard's tiles, read one at a time.

    The file is opened for each: as fast as a memory map, a store may have more slides than a
    process may have open files, and a file cut short is an error and no SIGBUS.
    """

    path: Path
    index: ShardIndex
    encoding: Encoding

    def read_into(self, number: int, out: RGB) -> None:
        """Tile `number` to `out`, contiguous, (h, w, 3).

        Raises:
            TilesCorrupt: the file is damaged.
        """
        start, end = self.index.offsets[number : number + 2].tolist()
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(start)
                if self.encoding == "raw" and end - start == out.nbytes:
                    found = file.readinto(out.reshape(-1).data) or 0
                else:
                    data = file.read(end - start)
                    found = len(data)
                    decode_into(data, out)
        except (OSError, TileDamaged) as error:
            raise TilesCorrupt(f"{self.path.name}, tile {number}: {error}") from error
        if found != end - start:
            raise TilesCorrupt(f"{self.path.name}, tile {number}: the file was cut short")
