"""Packing: slides into a store, several at a time; what is finished is never done again.

Threads, since the work is done elsewhere: each has a reader, which decodes in a process of its
own, and hashing, coding and writing let other threads run. They leave nothing behind when killed.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

from deepsmile.disk import alone, needing_room, write_file
from deepsmile.errors import DeepSmileError, RequestInvalid, StorageFull
from deepsmile.reading import Reader
from deepsmile_training.cohorts.slides import spellings
from deepsmile_training.stage import Stage
from deepsmile_training.tilesets.cutting import Finding
from deepsmile_training.tilesets.pressing import Press, shard_of, stored
from deepsmile_training.tilesets.recipe import TileRecipe
from deepsmile_training.tilesets.shard import Dropped
from deepsmile_training.tilesets.sources import NOT_FOUND, Entry, Sources
from deepsmile_training.tilesets.store import (
    SAME,
    SHARDS,
    SHEETS,
    TWICE,
    StoredSlide,
    StoreFile,
    TileStore,
    open_store,
    read_store_file,
)

AGAIN = "Free space and run the same command again: what is packed is kept."


@dataclass(frozen=True)
class Outcome:
    """What became of a slide."""

    slide: StoredSlide | None
    dropped: tuple[Dropped, ...] = ()


@dataclass
class _Run:
    """One run of a press."""

    press: Press
    readers: SimpleQueue[Reader] = field(default_factory=SimpleQueue)
    stopping: Event = field(default_factory=Event)


def pack(sources: Sources, press: Press, stage: Stage) -> TileStore:
    """Pack every slide that can be; the others are in the store's list, each with its reason.

    Slides that the store has already, and that these sources have not, stay in it.

    Raises:
        RequestInvalid: no tile could be packed; the folder holds tiles of another recipe, or
            another run is at it.
        TilesCorrupt: a shard is damaged, of a slide that these sources have not.
        StorageFull: the disk is; the same call goes on where this one stopped.
    """
    for name in (SHARDS, SHEETS):
        (press.folder / name).mkdir(parents=True, exist_ok=True)
    room = needing_room("no room left while packing", AGAIN)
    with alone(press.folder / ".lock", f"{press.folder}: another run packs there"), room:
        _clear(press.folder)
        kept = _kept(_claim(press), press, sources)
        outcomes = _pack_all(sources.entries, press, stage)
        packed = [outcome.slide for outcome in outcomes if outcome.slide is not None]
        dropped = [*sources.dropped, *(one for outcome in outcomes for one in outcome.dropped)]
        if not packed:
            raise nothing_to_pack(dropped, press.recipe.rules.tile_px)
        file = _listed([*kept.slides, *packed], [*dropped, *kept.dropped], press.recipe)
        write_file(press.folder / "store.json", file.model_dump_json(indent=1))
    return open_store(press.folder)


def _clear(folder: Path) -> None:
    """Remove what a killed run left half written."""
    for partial in folder.rglob(".*.partial"):
        partial.unlink(missing_ok=True)


def _claim(press: Press) -> StoreFile:
    """Say whose folder it is before the first tile is in it; what is listed there already."""
    file, begun = read_store_file(press.folder), StoreFile(complete=False, recipe=press.recipe)
    taken = file is not None and (file.complete or any((press.folder / SHARDS).iterdir()))
    if file is None or not taken:
        write_file(press.folder / "store.json", begun.model_dump_json(indent=1))
        return begun
    if file.recipe != press.recipe:
        hint = "Choose another folder, or delete this one."
        what = ", ".join(_differing(file.recipe, press.recipe))
        detail = f"{press.folder} holds tiles of another recipe: {what} differ"
        raise RequestInvalid(detail, hint=hint)
    return file


def _differing(one: TileRecipe, other: TileRecipe) -> list[str]:
    def flat(recipe: TileRecipe) -> dict[str, Any]:
        return {**recipe.rules.model_dump(), **recipe.model_dump(exclude={"rules"})}

    ours, theirs = flat(one), flat(other)
    return sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key))


def _pack_all(entries: Sequence[Entry], press: Press, stage: Stage) -> list[Outcome]:
    """Outcomes in the order of the entries; the first failure that is no slide's stops all."""
    advance, run = stage("slides", len(entries)), _Run(press)
    with ExitStack() as stack:
        for _ in range(press.workers):
            reader = press.make_reader()
            stack.callback(reader.close)
            run.readers.put(reader)
        pool = stack.enter_context(ThreadPoolExecutor(press.workers))
        futures = [pool.submit(_pack_one, entry, run) for entry in entries]
        try:
            for future in as_completed(futures):
                future.result()
                advance()
        finally:
            run.stopping.set()
            pool.shutdown(cancel_futures=True)
    return [future.result() for future in futures]


def _pack_one(entry: Entry, run: _Run) -> Outcome:
    """One slide; whatever is wrong with it is its outcome."""
    reader, finding = run.readers.get(), Finding()
    try:
        index = shard_of(entry, run.press, reader, finding=finding, stopping=run.stopping)
    except StorageFull:
        raise
    except DeepSmileError as error:
        return _none(entry, finding, error.code, error.detail)
    finally:
        run.readers.put(reader)
    if index is None:
        return _none(entry, finding, "no_tiles", "no tile to pack")
    return Outcome(stored(entry, index, run.press), index.facts.dropped)


def _none(entry: Entry, finding: Finding, code: str, detail: str) -> Outcome:
    slide = Dropped(slide=entry.name, tile=None, code=code, detail=detail)
    return Outcome(None, (slide, *finding.dropped))


def _kept(listed: StoreFile, press: Press, sources: Sources) -> StoreFile:
    """What is listed of slides that this run was not given.

    Raises:
        TilesCorrupt: to be verified, and not as it was packed.
    """
    given = {entry.name for entry in sources.entries}
    given |= {one.slide for one in sources.dropped if one.tile is None and one.code != NOT_FOUND}
    slides = tuple(slide for slide in listed.slides if slide.name not in given)
    dropped = [one for one in listed.dropped if one.slide not in given and one.code != NOT_FOUND]
    kept = listed.model_copy(update={"slides": slides, "dropped": tuple(dropped)})
    if press.verify:
        TileStore(press.folder, kept).verify()
    return kept


def _listed(
    slides: Sequence[StoredSlide], dropped: Sequence[Dropped], recipe: TileRecipe
) -> StoreFile:
    """Slides by name; of several with the same bytes the first, lest splits share one."""
    first: dict[str, StoredSlide] = {}
    names = {name for slide in slides for name in spellings(slide.name)}
    told = dict.fromkeys(dropped)  # an earlier run may have said the same
    missing = [one for one in told if one.code != NOT_FOUND or not _names_of(one) & names]
    for slide in sorted(slides, key=lambda slide: slide.name):
        if slide.sha256 in first:
            detail = f"{SAME}{first[slide.sha256].name}"
            missing.append(Dropped(slide=slide.name, tile=None, code=TWICE, detail=detail))
        else:
            first[slide.sha256] = slide
    return StoreFile(
        complete=True, recipe=recipe, slides=tuple(first.values()), dropped=tuple(missing)
    )


def _names_of(one: Dropped) -> set[str]:
    """A manifest names slides with or without suffix."""
    return {one.slide, Path(one.slide).stem}


def nothing_to_pack(dropped: Sequence[Dropped], px: int) -> RequestInvalid:
    """Why not, by the first reasons."""
    sizes = [one.detail for one in dropped if one.code == "tile_size"]
    if sizes:
        hint = f"Give --resize to resize them, if they show as much tissue as {px} px tiles do."
        return RequestInvalid(f"no image is {px} x {px} px; the first is {sizes[0]}", hint=hint)
    reasons = "; ".join(f"{one.slide}: {one.code}, {one.detail}" for one in dropped[:5])
    return RequestInvalid(
        f"no tile to pack: {reasons or 'no slide and no tile image was found'}",
        hint="Check the source; tile images need --images.",
    )
