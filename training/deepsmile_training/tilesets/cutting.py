"""Cutting: the tiles of one slide, from serving's own reader or from image files."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from deepsmile.digest import digest_beside, digest_of
from deepsmile.errors import SlideUnreadable, TooLittleTissue
from deepsmile.pyramid import resample
from deepsmile.reading import Reader
from deepsmile.tiles import TileBatch
from deepsmile_training.tilesets.codec import (
    Image,
    TileDamaged,
    as_packed,
    decode,
    encode,
)
from deepsmile_training.tilesets.recipe import Encoding, ImageRules, SlideRules, seeded_rank
from deepsmile_training.tilesets.shard import Dropped, Tile
from deepsmile_training.tilesets.sources import Entry


@dataclass
class Finding:
    """Filled while a slide's tiles are cut."""

    sha256: str = ""
    """Of the slide, or of the image files that were read; known at the end."""
    read: list[str] = field(default_factory=list)
    """Digests of those files."""
    dropped: list[Dropped] = field(default_factory=list)


def cut_slide(
    entry: Entry, rules: SlideRules, encoding: Encoding, reader: Reader, *, finding: Finding
) -> Generator[Tile]:
    """Tissue tiles, the pixels and the order that serving's reader gives.

    Raises:
        SlideError, Abstention: the slide cannot be read, or would not be scored.
    """
    path = entry.files[0]
    with (
        digest_beside(path, None) as digest,
        closing(reader.read(path, rules.contract, mpp=entry.mpp)) as events,
    ):
        kept = 0
        for event in events:
            if isinstance(event, TileBatch):
                kept += len(event.cells)
                for (column, row), pixels in zip(event.cells.tolist(), event.pixels, strict=True):
                    yield Tile(encode(pixels, encoding), (column, row))
        if not kept:
            raise TooLittleTissue("no tissue tile")
        try:
            finding.sha256 = digest.result()
        except OSError as error:
            raise SlideUnreadable(f"{error.strerror}") from error


def cut_images(
    entry: Entry, rules: ImageRules, encoding: Encoding, finding: Finding
) -> Generator[Tile]:
    """Tile images in the order of their names; with a budget, the first of a seeded order."""
    for path, image in islice(_readable(entry, rules, finding), rules.budget.max_tiles):
        yield Tile(as_packed(image, encoding), name=path.name)
    finding.sha256 = digest_of(sorted(finding.read))


def _readable(entry: Entry, rules: ImageRules, finding: Finding) -> Iterator[tuple[Path, Image]]:
    for path in _in_order(entry, rules):
        try:
            data = path.read_bytes()
            image = decode(data)
        except (OSError, TileDamaged) as error:
            finding.dropped.append(_drop(entry, path, "tile_unreadable", str(error)))
            continue
        finding.read.append(hashlib.sha256(data).hexdigest())
        height, width = image.pixels.shape[:2]
        if (height, width) == (rules.tile_px, rules.tile_px):
            yield path, image
        elif rules.resize:
            yield path, _resized(image, rules.tile_px)
        else:
            finding.dropped.append(_drop(entry, path, "tile_size", f"{width} x {height} px"))


def _in_order(entry: Entry, rules: ImageRules) -> list[Path]:
    if rules.budget.max_tiles is None:
        return sorted(entry.files)
    seed = rules.budget.seed
    return sorted(entry.files, key=lambda path: seeded_rank(seed, entry.name, path.name))


def _resized(image: Image, tile_px: int) -> Image:
    out = np.empty((tile_px, tile_px, 3), np.uint8)  # (s, s, 3)
    resample(image.pixels, out)
    return Image(out, None)


def _drop(entry: Entry, path: Path, code: str, detail: str) -> Dropped:
    return Dropped(slide=entry.name, tile=path.name, code=code, detail=detail)
