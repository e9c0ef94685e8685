"""Command that remakes a bundle's encoder in another precision."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from deepsmile.bundle import load_bundle
from deepsmile.precision import Kind
from deepsmile.settings import Settings
from deepsmile_training.cli.progress import stages

EXIT_REFUSED = 3


def precision(
    slides: Annotated[list[Path], typer.Option(help="A slide or a folder of them; repeatable.")],
    kind: Annotated[Kind, typer.Option("--precision", help="int8: for CPUs; fp16: for GPUs.")],
    bundle: Annotated[str, typer.Option(help="The bundle whose encoder is remade.")] = "demo",
    out: Annotated[
        Path | None, typer.Option(help="Model repository to write into; by default the bundle's.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores to use.")] = 2,
) -> None:
    """Remake a bundle's encoder in int8 or fp16. Exit code 3: refused, and nothing is written."""
    from deepsmile_training.variants.make import Wish, make_variant

    settings = Settings()
    parent = load_bundle(settings.model_repository, bundle)
    command = f"deepsmile-train precision --bundle {bundle} --precision {kind}"
    command += " --slides SLIDES"  # their names may be patients'; digests stand in for them
    wish = Wish(parent, kind, slides, out or settings.model_repository, threads, command)
    with closing(settings.reader) as reader, stages() as stage:
        outcome = make_variant(wish, reader, stage)
    typer.echo(f"bounds: {wish.bounds}")
    for attempt in outcome.attempts:
        typer.echo(f"{kind}, {attempt.how}: {attempt.shift}")
    if outcome.bundle is None:
        typer.secho(f"precision_refused: {outcome.complaint}", fg="red", err=True)
        typer.echo(f"Nothing was written; {bundle} stays as it is.", err=True)
        raise typer.Exit(EXIT_REFUSED)
    typer.echo(f"bundle {outcome.bundle.name} {outcome.bundle.digest}")
