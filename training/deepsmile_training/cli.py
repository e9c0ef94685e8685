"""`deepsmile-train`: commands that make bundles and synthetic slides."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deepsmile.bundle import load_bundle
from deepsmile.cli.edge import run
from deepsmile.precision import Kind
from deepsmile.settings import Settings

SEED = 2026
EXIT_REFUSED = 3

commands = typer.Typer(
    name="deepsmile-train",
    help="Make DeepSMILE bundles. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@commands.command()
def demo_bundle(
    out: Annotated[Path, typer.Option(help="Model repository to write into.")] = Path(
        "model_repository"
    ),
    slides: Annotated[int, typer.Option(min=12, help="Slides of the cohort.")] = 240,
    seed: Annotated[int, typer.Option(min=0)] = SEED,
    threads: Annotated[int, typer.Option(min=1, help="Cores to use.")] = 2,
    work: Annotated[Path, typer.Option(help="Slides and features are kept here.")] = Path(
        "deepsmile-data/training"
    ),
    smoke: Annotated[bool, typer.Option("--smoke", help="12 slides, a minute, no skill.")] = False,
) -> None:
    """Make the demo bundle from nothing: paint, encode, fit, calibrate, evaluate, seal."""
    import torch

    from deepsmile_training.demo import make_demo_bundle
    from deepsmile_training.plan import DemoPlan
    from deepsmile_training.workshop import Workshop

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    plan = DemoPlan(seed=seed, slides=slides, threads=threads)
    plan = plan.smoke() if smoke else plan
    size = "--smoke" if smoke else f"--slides {slides}"
    command = f"deepsmile-train demo-bundle {size} --seed {seed} --threads {threads}"
    with _stages() as stage:
        bundle = make_demo_bundle(plan, command, out, Workshop(work, stage))
    for name, figures in bundle.file.provenance["test"].items():
        auc, ece = figures["auc"], figures["ece"]["value"]
        interval = f"({auc['low']:.3f} to {auc['high']:.3f})"
        typer.echo(f"{name}: AUC {auc['value']:.3f} {interval}, ECE {ece:.3f} on test slides")
    typer.echo(f"bundle {bundle.name} {bundle.digest}")


@commands.command()
def demo_slides(
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    seed: Annotated[int, typer.Option(min=0)] = SEED,
) -> None:
    """Make the two small slides that `deepsmile demo` shows."""
    from deepsmile_training.shown import make_shown_slides

    for path in make_shown_slides(seed, out):
        typer.echo(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


@commands.command()
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
    from deepsmile_training.variant import Wish, make_variant

    settings = Settings()
    parent = load_bundle(settings.model_repository, bundle)
    command = f"deepsmile-train precision --bundle {bundle} --precision {kind}"
    command += " --slides SLIDES"  # their names may be patients'; digests stand in for them
    wish = Wish(parent, kind, slides, out or settings.model_repository, threads, command)
    with closing(settings.reader) as reader, _stages() as stage:
        outcome = make_variant(wish, reader, stage)
    for attempt in outcome.attempts:
        typer.echo(f"{kind}, {attempt.how}: {attempt.shift}")
    if outcome.bundle is None:
        typer.secho(f"precision_refused: {outcome.complaint}", fg="red", err=True)
        typer.echo(f"Nothing was written; {bundle} stays as it is.", err=True)
        raise typer.Exit(EXIT_REFUSED)
    typer.echo(f"bundle {outcome.bundle.name} {outcome.bundle.digest}")


def app() -> None:
    """Entry point."""
    run(commands)


@contextmanager
def _stages() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """One progress bar per stage, on stderr; one line per stage where that is no terminal."""
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:

        def begin(what: str, total: int) -> Callable[[], None]:
            if not console.is_terminal:
                console.print(f"{datetime.now(UTC):%H:%M:%S} {what}: {total}")
            task = progress.add_task(what, total=total)
            return lambda: progress.advance(task)

        yield begin
