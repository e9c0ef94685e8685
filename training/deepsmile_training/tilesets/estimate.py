"""Estimate: what packing would come to, from a few slides or images."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from deepsmile.contract import Budget
from deepsmile.errors import DeepSmileError
from deepsmile.frames import PlanFacts, ReadCount
from deepsmile.tiles import TileBatch
from deepsmile_training.stage import Stage
from deepsmile_training.tilesets.codec import encode
from deepsmile_training.tilesets.cutting import Finding, cut_images
from deepsmile_training.tilesets.pressing import Press
from deepsmile_training.tilesets.recipe import ImageRules, SlideRules
from deepsmile_training.tilesets.sources import Entry

SLIDES, TILES = 16, 32
"""So many slides are looked at, and so many tiles of each."""


@dataclass(frozen=True)
class Estimate:
    """Of one slide, or of all."""

    tiles: float = 0
    size_bytes: float = 0
    seconds: float = 0


def estimate(entries: Sequence[Entry], press: Press, stage: Stage) -> Estimate:
    """All slides, by those looked at; a slide that cannot be read counts as one without tiles."""
    if not entries:
        return Estimate()
    some = entries[:: -(-len(entries) // SLIDES)]
    advance, looks = stage("looking", len(some)), []
    for entry in some:
        looks.append(_look(entry, press))
        advance()
    times = sum(len(e.files) for e in entries) / sum(len(e.files) for e in some)
    return Estimate(
        tiles=times * sum(look.tiles for look in looks),
        size_bytes=times * sum(look.size_bytes for look in looks),
        seconds=times * sum(look.seconds for look in looks) / press.workers,
    )


def _look(entry: Entry, press: Press) -> Estimate:
    rules = press.recipe.rules
    try:
        if isinstance(rules, ImageRules):
            return _look_at_images(entry, rules, press)
        return _look_at_slide(entry, rules, press)
    except DeepSmileError:
        return Estimate()


def _look_at_images(entry: Entry, rules: ImageRules, press: Press) -> Estimate:
    budget = Budget(max_tiles=TILES, seed=rules.budget.seed)
    few = rules.model_copy(update={"budget": budget})
    start, finding = time.perf_counter(), Finding()
    sizes = [len(tile.data) for tile in cut_images(entry, few, press.recipe.encoding, finding)]
    spent = time.perf_counter() - start
    looked = len(sizes) + len(finding.dropped)
    good = len(entry.files) * len(sizes) / looked if looked else 0
    tiles = min(good, rules.budget.max_tiles or good)
    return _scaled(tiles, sizes, 0, spent)


def _look_at_slide(entry: Entry, rules: SlideRules, press: Press) -> Estimate:
    few = rules.model_copy(update={"budget": Budget(max_tiles=TILES, seed=rules.budget.seed)})
    start, planned, candidates, good = time.perf_counter(), 0.0, 0, 0.0
    sizes: list[int] = []
    with closing(press.make_reader()) as reader:
        for event in reader.read(entry.files[0], few.contract, mpp=entry.mpp):
            if isinstance(event, PlanFacts):
                planned, candidates = time.perf_counter() - start, event.candidates
            if isinstance(event, TileBatch):
                sizes += [len(encode(tile, press.recipe.encoding)) for tile in event.pixels]
            if isinstance(event, ReadCount) and event.decoded:
                good = candidates * event.kept / event.decoded
    tiles = min(good, rules.budget.max_tiles or good)
    return _scaled(tiles, sizes, planned, time.perf_counter() - start - planned)


def _scaled(tiles: float, sizes: Sequence[int], fixed_s: float, spent_s: float) -> Estimate:
    """For `tiles` tiles, when those of `sizes` bytes took `spent_s` after `fixed_s`."""
    looked = max(len(sizes), 1)
    return Estimate(tiles, tiles * sum(sizes) / looked, fixed_s + spent_s * tiles / looked)
