"""Store: a folder of shards, read by the number of a tile."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from deepsmile.digest import digest_of, digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile.frozen import Frozen
from deepsmile.slides.slide import RGB
from deepsmile_training.tilesets.recipe import TileRecipe
from deepsmile_training.tilesets.shard import Dropped, Shard, TilesCorrupt, load_index

SHARDS, SHEETS = "shards", "qc"
SUFFIX = ".tiles"
TWICE, SAME = "slide_twice", "the same bytes as "
"""Code of a slide that repeats another, and what is said of it before that one's name."""


class StoredSlide(Frozen):
    """A slide of the store."""

    name: str
    case: str
    """Slides of one case belong to one part of any split."""
    labels: dict[str, str]
    """The further columns of its manifest, or of the folders it came in."""
    sha256: str
    """Of the slide, or of the image files."""
    tiles: int
    shard: str
    tiles_sha256: str
    """Of the shard's tiles."""


class StoreFile(Frozen):
    """`store.json`."""

    format: Literal["deepsmile-tiles/1"] = "deepsmile-tiles/1"
    complete: bool
    """False while the first packing is under way."""
    recipe: TileRecipe
    slides: tuple[StoredSlide, ...] = ()
    dropped: tuple[Dropped, ...] = ()


class TileStore:
    """Tiles of many slides, numbered slide after slide; pickled, it is the folder's name."""

    def __init__(self, folder: Path, file: StoreFile) -> None:
        self.folder, self.file = folder, file
        self.slides = file.slides
        self.tile_px = file.recipe.rules.tile_px
        self._starts = np.cumsum([0, *(slide.tiles for slide in file.slides)])  # (slides + 1,)
        self._shards: dict[int, Shard] = {}

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return open_store, (self.folder,)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, number: int) -> RGB:
        """Tile `number`, (size, size, 3)."""
        tile: RGB = self.read([number])[0]  # (s, s, 3)
        return tile

    def read(self, numbers: Sequence[int] | NDArray[np.integer]) -> RGB:
        """Tiles by their numbers, (B, size, size, 3).

        Raises:
            IndexError: there is no such tile.
            TilesCorrupt: a shard is damaged.
        """
        tiles = np.empty((len(numbers), self.tile_px, self.tile_px, 3), np.uint8)  # (B, s, s, 3)
        for tile, number in zip(tiles, numbers, strict=True):
            if not 0 <= number < len(self):
                raise IndexError(f"tile {number} of {len(self)}")
            slide = int(np.searchsorted(self._starts, number, side="right")) - 1
            self._shard(slide).read_into(int(number - self._starts[slide]), tile)
        return tiles

    @cached_property
    def slide_index(self) -> NDArray[np.int64]:
        """(n,) which of `slides` each tile is of."""
        return np.repeat(np.arange(len(self.slides)), np.diff(self._starts))

    @cached_property
    def cells(self) -> NDArray[np.int32]:
        """(n, 2) column and row of each tile on its slide's grid; -1 of tile images."""
        return np.concatenate([self._shard(i).index.cells for i in range(len(self.slides))])

    @cached_property
    def names(self) -> NDArray[np.str_]:
        """(n,) name of each tile image; empty of tiles of slides."""
        return np.concatenate([self._shard(i).index.names for i in range(len(self.slides))])

    @property
    def twins(self) -> dict[str, str]:
        """Slides that were left out because others have the same bytes, to those."""
        repeated = [one for one in self.file.dropped if one.code == TWICE]
        return {one.slide: one.detail.removeprefix(SAME) for one in repeated}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of recipe and tiles, and of what is said of their slides: for reports."""
        return self._digest_without("shard")

    @property
    def tiles_digest(self) -> str:
        """SHA-256 (hex) of recipe and tiles alone: a corrected label makes no other tiles."""
        return self._digest_without("shard", "case", "labels")

    def _digest_without(self, *untold: str) -> str:
        slides = [slide.model_dump(exclude=set(untold)) for slide in self.slides]
        return digest_of([self.file.recipe.model_dump(mode="json"), slides])

    def verify(self) -> None:
        """Read every byte; raises TilesCorrupt, naming the shard, where one has changed."""
        for number, slide in enumerate(self.slides):
            path = self._shard(number).path
            if digest_of_file(path) != slide.tiles_sha256:
                raise TilesCorrupt(f"{path.name}, of {slide.name}: other bytes than were packed")

    def _shard(self, number: int) -> Shard:
        if number not in self._shards:
            slide, encoding = self.slides[number], self.file.recipe.encoding
            path = shard_path(self.folder, slide.shard)
            index = load_index(path)
            if index.facts.tiles_sha256 != slide.tiles_sha256 or len(index) != slide.tiles:
                raise TilesCorrupt(f"{path.name}, of {slide.name}: not the tiles of store.json")
            self._shards[number] = Shard(path, index, encoding)
        return self._shards[number]


def open_store(folder: Path) -> TileStore:
    """Open a store; its shards are opened as they are needed.

    Raises:
        RequestInvalid: there is none, or it is not packed to the end.
        TilesCorrupt: `store.json` is damaged, or a shard is missing.
    """
    file = read_store_file(folder)
    if file is None or not file.complete:
        what = "no tile store" if file is None else "a tile store that is not complete"
        raise RequestInvalid(f"{folder}: {what}", hint="Pack it with `deepsmile-train tiles`.")
    for slide in file.slides:
        if not shard_path(folder, slide.shard).exists():
            raise TilesCorrupt(f"{slide.shard}{SUFFIX}, of {slide.name}: missing")
    return TileStore(folder, file)


def read_store_file(folder: Path) -> StoreFile | None:
    """`store.json`, if there is one.

    Raises:
        TilesCorrupt: it is damaged.
    """
    path = folder / "store.json"
    try:
        return StoreFile.model_validate_json(path.read_bytes()) if path.exists() else None
    except ValidationError as error:
        raise TilesCorrupt(f"{path.name}: {error.error_count()} wrong fields") from error


def shard_path(folder: Path, shard: str) -> Path:
    """The tiles of a shard."""
    return folder / SHARDS / f"{shard}{SUFFIX}"
