"""Command that packs tiles for training."""

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepsmile.bundle import load_bundle
from deepsmile.contract import Budget
from deepsmile.errors import RequestInvalid
from deepsmile.settings import Settings
from deepsmile_training.cli.progress import stages
from deepsmile_training.contracts import Tissue, feature_contract
from deepsmile_training.tilesets.recipe import NO_ENCODER, Encoding, ImageRules, slide_rules

if TYPE_CHECKING:
    from deepsmile.contract import FeatureContract
    from deepsmile_training.tilesets.pressing import Press
    from deepsmile_training.tilesets.recipe import SlideRules
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
    tissue: Annotated[
        Tissue | None,
        typer.Option(help="Rule for background, of slides; paper: on grey as it is."),
    ] = None,
    prepared: Annotated[
        Path | None,
        typer.Option(help="Folder with cohort.json and split.json; leaves its test patients out."),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(help="Whose test patients, with --prepared; by default those of any fold."),
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
    if tissue and (images or bundle):
        hint = "Leave it out: tile images are taken as they are, and a bundle has its own rule."
        raise RequestInvalid("tissue: only for slides that are cut by no bundle", hint=hint)
    if chosen == "files" and not images:
        hint = "Tiles cut from slides are raw or jpeg."
        raise RequestInvalid("encoding: files is for tile images only", hint=hint)
    settings = Settings()
    contract = None if images else _contract(settings, bundle, tissue)
    rules = _rules(contract, max_tiles or None, seed, resize=resize)
    recipe = TileRecipe(encoding=chosen, rules=rules)
    found = _without_tested(_find(sources or [], manifest, images=images), prepared, fold)
    press = Press(out, recipe, lambda: settings.reader, workers, verify=verify)
    if dry_run:
        _say_estimate(found, press)
        return
    with stages() as stage:
        store = pack(found, press, stage)
    _say_summary(store)


def _contract(settings: Settings, bundle: str | None, tissue: Tissue | None) -> "FeatureContract":
    """The rules that slides are cut by."""
    if bundle:
        return load_bundle(settings.model_repository, bundle).contract.features
    return feature_contract(NO_ENCODER, tissue or "default")


def _rules(
    contract: "FeatureContract | None", max_tiles: int | None, seed: int, *, resize: bool
) -> "SlideRules | ImageRules":
    """Of slides by a contract; without one, of tile images."""
    if contract:
        return slide_rules(contract, max_tiles=max_tiles, seed=seed)
    return ImageRules(resize=resize, budget=Budget(max_tiles=max_tiles, seed=seed))


def _without_tested(found: "Sources", prepared: Path | None, fold: int | None) -> "Sources":
    """Without the slides of the patients whom a prepared cohort's split tests."""
    from deepsmile_training.cohorts.untouched import untouched_in
    from deepsmile_training.tilesets.sources import without_tested

    if prepared is None:
        if fold is not None:
            raise RequestInvalid("fold: of no split", hint="Name its folder with --prepared.")
        return found
    return without_tested(found, untouched_in(prepared, fold))


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
    from deepsmile_training.tilesets.packing import nothing_to_pack

    if not found.entries:
        raise nothing_to_pack(found.dropped, press.recipe.rules.tile_px)
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
