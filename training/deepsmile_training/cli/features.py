"""Command that extracts a cohort's features."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepsmile.errors import RequestInvalid
from deepsmile.settings import Settings
from deepsmile_training.cli.progress import stages

if TYPE_CHECKING:
    from deepsmile_training.prepared.features import Extractor, FeatureSet


def features(
    prepared: Annotated[Path, typer.Argument(help="Folder with cohort.json and split.json.")],
    encoder: Annotated[
        str, typer.Option(help="An encoder of the model repository, or a bundle whose it is.")
    ],
    slides: Annotated[
        Path | None,
        typer.Argument(help="Folder of the slides, at any depth; without, of a tile store."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Tile store to encode; by default PREPARED/tiles.")
    ] = None,
    extractor: Annotated[str, typer.Option(help="What the tables call it, such as SimCLR.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Slides to read at once.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Cores for the encoder.")] = 2,
) -> None:
    """Extract the features of a cohort's slides, exactly as serving would, or of a tile store's."""
    from deepsmile.backends.onnx import OnnxEncoder
    from deepsmile_training.encoders.encoder_file import find_encoder, home_of, pretrained_on
    from deepsmile_training.prepared.features import Extractor

    if slides and store:
        raise RequestInvalid(
            "slides and a tile store are given", hint="Leave out one: the features are of either."
        )
    settings = Settings()
    home = home_of(settings.model_repository, encoder)
    path, contract = find_encoder(home, encoder)
    using = Extractor(
        name=extractor or encoder,
        contract=contract,
        encoder=OnnxEncoder(path, threads, contract.encoder.sha256),
        make_reader=lambda: settings.reader,
        workers=workers,
    )
    if slides:
        made = _of_slides(prepared, slides, using)
    else:
        made = _of_store(prepared, store or prepared / "tiles", using)
    for name, why in sorted(made.dropped.items()):
        typer.echo(f"{name}: {why}", err=True)
    typer.echo(f"{using.name}: {len(made.slides)} slides, {len(made.dropped)} left out")
    _warn(prepared, using.name, pretrained_on(home, encoder))


def _warn(prepared: Path, extractor: str, slides: list[list[str]] | None) -> None:
    """Say it where the encoder has learnt from patients whom the split tests (Algorithm 1)."""
    from deepsmile_training.cohorts.untouched import untouched_in

    if slides is None or not (prepared / "split.json").exists():
        return
    own = extractor.partition("@")[2]
    tested = untouched_in(prepared, int(own) if own.isdigit() else None)
    if seen := tested.count(slides):
        typer.echo(
            f"Warning: {extractor} was pre-trained on slides of {seen} of {len(tested.patients)}"
            " test patients, and figures on them may flatter it. Pack the tiles that it learns"
            " from with `deepsmile-train tiles --prepared`.",
            err=True,
        )


def _of_slides(prepared: Path, folder: Path, using: "Extractor") -> "FeatureSet":
    from deepsmile_training.cohorts.cohort import load_cohort
    from deepsmile_training.cohorts.slides import match_slides
    from deepsmile_training.prepared.features import extract_features

    cohort = load_cohort(prepared / "cohort.json")
    found = match_slides(cohort, folder).found
    with stages() as stage:
        advance = stage("features", len(found))
        return extract_features(cohort, found, using, prepared, advance)


def _of_store(prepared: Path, folder: Path, using: "Extractor") -> "FeatureSet":
    from deepsmile_training.cohorts.cohort import load_cohort
    from deepsmile_training.prepared.features import encode_store, stored_slides
    from deepsmile_training.tilesets.store import open_store

    if not folder.exists():
        raise RequestInvalid(
            f"no slides are given, and {folder} is no tile store",
            hint="Name the folder of the slides, or give --store FOLDER.",
        )
    cohort, store = load_cohort(prepared / "cohort.json"), open_store(folder)
    with stages() as stage:
        advance = stage("features", len(stored_slides(cohort, store)))
        return encode_store(cohort, store, using, prepared, advance)
