"""Commands that make the demo's bundle and its two slides."""

from pathlib import Path
from typing import Annotated

import typer

from deepsmile.settings import Settings
from deepsmile_training.cli.progress import stages

SEED = 2026


def demo_bundle(
    out: Annotated[
        Path | None, typer.Option(help="Model repository to write into; by default the settings'.")
    ] = None,
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

    from deepsmile_training.demo.bundle import make_demo_bundle
    from deepsmile_training.demo.plan import DemoPlan
    from deepsmile_training.demo.workshop import Workshop

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    plan = DemoPlan(seed=seed, slides=slides, threads=threads)
    plan = plan.smoke() if smoke else plan
    size = "--smoke" if smoke else f"--slides {slides}"
    command = f"deepsmile-train demo-bundle {size} --seed {seed} --threads {threads}"
    repository = out or Settings().model_repository
    with stages() as stage:
        bundle = make_demo_bundle(plan, command, repository, Workshop(work, stage))
    for name, figures in bundle.file.provenance["test"].items():
        auc, ece = figures["auc"], figures["ece"]
        interval = f"({auc['low']:.3f} to {auc['high']:.3f})"
        typer.echo(f"{name}: AUC {auc['value']:.3f} {interval}, ECE {ece:.3f} on test slides")
    typer.echo(f"bundle {bundle.name} {bundle.digest}")


def demo_slides(
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    seed: Annotated[int, typer.Option(min=0)] = SEED,
) -> None:
    """Make the two small slides that `deepsmile demo` shows."""
    from deepsmile_training.demo.shown import make_shown_slides

    for path in make_shown_slides(seed, out):
        typer.echo(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
