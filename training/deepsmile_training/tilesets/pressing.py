"""Pressing: one slide into its shard, or the shard that it already has."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from deepsmile.digest import digest_of, digest_of_file
from deepsmile.errors import SlideNotFound
from deepsmile.parts import parts_of
from deepsmile.reading import Reader
from deepsmile_training.tilesets.cutting import Finding, cut_images, cut_slide
from deepsmile_training.tilesets.recipe import ImageRules, TileRecipe
from deepsmile_training.tilesets.shard import (
    Shard,
    ShardFacts,
    ShardIndex,
    Tile,
    TilesCorrupt,
    index_path,
    load_index,
    write_index,
    write_tiles,
)
from deepsmile_training.tilesets.sheet import write_sheet
from deepsmile_training.tilesets.sources import Entry
from deepsmile_training.tilesets.store import SHEETS, StoredSlide, shard_path


@dataclass(frozen=True)
class Press:
    """Where and how slides are packed; but for the recipe, nothing here can change a tile."""

    folder: Path
    recipe: TileRecipe
    make_reader: Callable[[], Reader]
    workers: int = 1
    verify: bool = False
    """Read finished shards to the end, and pack those anew that have changed."""


def shard_of(
    entry: Entry, press: Press, reader: Reader, *, finding: Finding, stopping: Event
) -> ShardIndex | None:
    """A slide's shard, kept from before or written now; None: it has no tiles.

    Raises:
        SlideError, Abstention: of the slide. OSError: of the disk. CancelledError: to stop.
    """
    path, stamp = shard_path(press.folder, shard_key(entry, press.recipe)), stamp_of(entry)
    index = _kept(path, stamp, verify=press.verify)
    if index is None:
        with closing(_cut(entry, press, reader, finding)) as tiles:
            index = _write(path, _until(stopping, tiles), stamp, finding)
    if index is not None:
        _show(entry, press, Shard(path, index, press.recipe.encoding))
    return index


def stored(entry: Entry, index: ShardIndex, press: Press) -> StoredSlide:
    """A slide's line in `store.json`."""
    return StoredSlide(
        name=entry.name,
        case=entry.case,
        labels=entry.labels,
        sha256=index.facts.slide_sha256,
        tiles=len(index),
        shard=shard_key(entry, press.recipe),
        tiles_sha256=index.facts.tiles_sha256,
    )


def _write(path: Path, tiles: Iterator[Tile], stamp: str, finding: Finding) -> ShardIndex | None:
    counter = write_tiles(path, tiles)
    if not counter.cells:
        path.unlink()
        return None
    facts = ShardFacts(
        stamp=stamp,
        slide_sha256=finding.sha256,
        tiles_sha256=counter.sha256,
        dropped=tuple(finding.dropped),
    )
    return write_index(path, counter, facts)


def _show(entry: Entry, press: Press, shard: Shard) -> None:
    """Write the contact sheet unless it is newer than the shard."""
    sheet, written = press.folder / SHEETS / f"{entry.name}.jpg", index_path(shard.path).stat()
    if not sheet.exists() or sheet.stat().st_mtime_ns < written.st_mtime_ns:
        index = shard.index
        title = f"{entry.name}: {len(index)} tiles, {len(index.facts.dropped)} dropped"
        write_sheet(sheet, title, shard, press.recipe.rules.tile_px)


def _cut(entry: Entry, press: Press, reader: Reader, finding: Finding) -> Generator[Tile]:
    rules, encoding = press.recipe.rules, press.recipe.encoding
    if isinstance(rules, ImageRules):
        return cut_images(entry, rules, encoding, finding)
    return cut_slide(entry, rules, encoding, reader, finding=finding)


def _until(stopping: Event, tiles: Iterator[Tile]) -> Iterator[Tile]:
    for tile in tiles:
        if stopping.is_set():
            raise CancelledError
        yield tile


def _kept(path: Path, stamp: str, *, verify: bool) -> ShardIndex | None:
    """The finished shard of these very files, unless it is damaged."""
    try:
        index = load_index(path)
    except TilesCorrupt:
        return None
    if index.facts.stamp != stamp:
        return None
    return index if not verify or digest_of_file(path) == index.facts.tiles_sha256 else None


def stamp_of(entry: Entry) -> str:
    """What tells a slide's files from changed ones without reading them: name, size, time.

    Raises:
        SlideNotFound: one of them is gone.
    """
    parts = [item for path in entry.files for item in parts_of(path).items()]
    try:
        found = [(name, path.stat()) for name, path in sorted(parts)]
    except FileNotFoundError as error:
        raise SlideNotFound("no such file") from error
    return digest_of([[name, facts.st_size, facts.st_mtime_ns] for name, facts in found])


def shard_key(entry: Entry, recipe: TileRecipe) -> str:
    """The name of a slide's shard."""
    return digest_of([recipe.model_dump(mode="json"), entry.name, entry.mpp])[:16]
