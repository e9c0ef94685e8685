"""Command that packs tiles for training."""

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepsmile.bundle import load_bundle
from deepsmile.errors import RequestInvalid
from deepsmile.settings import Settings
from deepsmile_training.cli.progress import stages
from deepsmile_training.tilesets.recipe import Encoding

if TYPE_CHECKING:
    from deepsmile_training.tilesets.pressing import Press
    from deepsmile_training.tilesets.recipe import ImageRules, SlideRules
    from deepsmile_training.tilesets.sources import Sources
    from deepsmile_training.tilesets.store import TileStore

SHOWN = 10


def tiles(
    out: Annotated[Path, typer.Option(help="Folder of the tile store.")],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SOURCE...", help="Slides, or folders of them or of tile images."),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="The sources hold tile images, not slides.")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Table with the columns slide, case, mpp and labels; selects slides."),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(help="Cut tiles by its contract; by default by the paper's rules."),
    ] = None,
    encoding: Annotated[
        Encoding | None,
        typer.Option(help="By default raw; with --images files: JPEG and PNG as they are."),
    ] = None,
    max_tiles: Annotated[int, typer.Option(min=0, help="Of a slide; 0: all of them.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Which tiles, with --max-tiles.")] = 0,
    resize: Annotated[
        bool, typer.Option("--resize", help="Resize tile images that are not 224 x 224 px.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Slides at a time.")] = 2,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every byte of what is packed already.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would come to; write nothing.")
    ] = False,
) -> None:
    """Pack tiles of slides, or tile images, for training. Run it again to go on or to add.

    Slides that are not given again stay; to leave one out, make a new store.
    """
    from deepsmile_training.tilesets.packing import pack
    from deepsmile_training.tilesets.pressing import Press
    from deepsmile_training.tilesets.recipe import TileRecipe

    chosen = encoding or ("files" if images else "raw")
    if chosen == "files" and not images:
        hint = "Tiles cut from slides are raw or jpeg."
        raise RequestInvalid("encoding: files is for tile images only", hint=hint)
    settings = Settings()
    rules = _rules(settings, bundle, max_tiles, seed, resize=resize, images=images)
    recipe = TileRecipe(encoding=chosen, rules=rules)
    found = _find(sources or [], manifest, images=images)
    press = Press(out, recipe, lambda: settings.reader, workers, verify=verify)
    if dry_run:
        _say_estimate(found, press)
        return
    with stages() as stage:
        store = pack(found, press, stage)
    _say_summary(store)


def _rules(
    settings: Settings, bundle: str | None, max_tiles: int, seed: int, *, resize: bool, images: bool
) -> "SlideRules | ImageRules":
    from deepsmile.contract import Budget
    from deepsmile_training.tilesets.recipe import ImageRules, slide_rules

    if images:
        budget = Budget(max_tiles=max_tiles or None, seed=seed)
        return ImageRules(resize=resize, budget=budget)
    contract = None
    if bundle:
        contract = load_bundle(settings.model_repository, bundle).contract.features
    return slide_rules(contract, max_tiles=max_tiles or None, seed=seed)


def _find(places: list[Path], manifest: Path | None, *, images: bool) -> "Sources":
    """What the sources hold; a `slides.csv` in the only folder of tile images is its manifest."""
    from deepsmile_training.tilesets.manifest import read_manifest
    from deepsmile_training.tilesets.sources import find_images, find_slides

    if not places and (images or manifest is None):
        raise RequestInvalid("no source", hint="Name slides, or folders.")
    beside = places[0] / "slides.csv" if images and len(places) == 1 else None
    if manifest is None and beside is not None and beside.exists():
        manifest = beside
    rows = read_manifest(manifest) if manifest else None
    return find_images(places, rows) if images else find_slides(places, rows)


def _say_estimate(found: "Sources", press: "Press") -> None:
    from deepsmile_training.tilesets.estimate import estimate

    with stages() as stage:
        whole = estimate(found.entries, press, stage)
    there = next(path for path in (press.folder, *press.folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    for one in found.dropped[:SHOWN]:
        typer.echo(f"left out: {one.slide}: {one.code}, {one.detail}")
    typer.echo(
        f"{len(found.entries)} slides ({len(found.dropped)} left out), about {whole.tiles:.0f}"
        f" tiles, {whole.size_bytes / 1e9:.2f} GB of {free / 1e9:.1f} GB free,"
        f" {whole.seconds:.0f} s with {press.workers} workers"
    )


def _say_summary(store: "TileStore") -> None:
    dropped = store.file.dropped
    for one in dropped[:SHOWN]:
        name = f"{one.slide}/{one.tile}" if one.tile else one.slide
        typer.echo(f"dropped {name}: {one.code}, {one.detail}")
    if len(dropped) > SHOWN:
        typer.echo(f"... and {len(dropped) - SHOWN} more; store.json lists them all")
    codes = Counter(one.code for one in dropped).most_common()
    reasons = ", ".join(f"{count} {code}" for code, count in codes)
    cases = len({slide.case for slide in store.slides})
    typer.echo(
        f"{len(store.slides)} slides of {cases} cases, {len(store)} tiles;"
        f" dropped {len(dropped)}{f' ({reasons})' if reasons else ''}"
    )
    typer.echo(f"store {store.digest}")
