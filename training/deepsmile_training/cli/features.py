"""Command that extracts a cohort's features."""

from pathlib import Path
from typing import Annotated

import typer

from deepsmile.settings import Settings
from deepsmile_training.cli.progress import stages


def features(
    prepared: Annotated[Path, typer.Argument(help="Folder with cohort.json and split.json.")],
    slides: Annotated[Path, typer.Argument(help="Folder of the slides, at any depth.")],
    encoder: Annotated[
        str, typer.Option(help="An encoder of the model repository, or a bundle whose it is.")
    ],
    extractor: Annotated[str, typer.Option(help="What the tables call it, such as SimCLR.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Slides to read at once.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Cores for the encoder.")] = 2,
) -> None:
    """Extract the features of a cohort's slides, exactly as serving would."""
    from deepsmile.backends.onnx import OnnxEncoder
    from deepsmile_training.cohorts.cohort import load_cohort
    from deepsmile_training.cohorts.slides import match_slides
    from deepsmile_training.encoders.encoder_file import find_encoder
    from deepsmile_training.prepared.features import Extractor, extract_features

    settings = Settings()
    path, contract = find_encoder(settings.model_repository, encoder)
    matched = match_slides(load_cohort(prepared / "cohort.json"), slides)
    using = Extractor(
        name=extractor or encoder,
        contract=contract,
        encoder=OnnxEncoder(path, threads),
        make_reader=lambda: settings.reader,
        workers=workers,
    )
    with stages() as stage:
        advance = stage("features", len(matched.found))
        made = extract_features(matched.found, matched.missing, using, prepared, advance)
    for name, why in sorted(made.dropped.items()):
        typer.echo(f"{name}: {why}", err=True)
    typer.echo(f"{using.name}: {len(made.slides)} slides, {len(made.dropped)} left out")
