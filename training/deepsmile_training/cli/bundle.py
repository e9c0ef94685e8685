"""Command that makes a bundle of a prepared cohort."""

import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from deepsmile.settings import Settings
from deepsmile_training.cli.progress import stages

if TYPE_CHECKING:
    from deepsmile.bundle import Bundle
    from deepsmile_training.bundling.bundle import Workbench
    from deepsmile_training.bundling.examples import Originals
    from deepsmile_training.bundling.plan import Plan
    from deepsmile_training.prepared.prepared import Prepared


def bundle(
    prepared: Annotated[Path, typer.Argument(help="Folder with cohort, split and features.")],
    extractor: Annotated[str, typer.Option(help="Whose features are used.")],
    encoder: Annotated[
        str, typer.Option(help="The encoder that made them, or a bundle that has it.")
    ],
    label: Annotated[list[str], typer.Option(help="One head each, of two classes; repeatable.")],
    name: Annotated[str, typer.Option(help="Of the bundle, such as crc-msi.")],
    config: Annotated[
        Path | None,
        typer.Option(help="YAML of head and recipe; by default VarMIL, on standardised features."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Model repository to write into; by default the settings'.")
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="Folder of the reports; by default beside the card.")
    ] = None,
    version: Annotated[str, typer.Option(help="A new one leaves the former for its jobs.")] = "1",
    notice: Annotated[str, typer.Option(help="Said beside every score.")] = "",
    min_tiles: Annotated[int, typer.Option(min=1, help="Slides with fewer are declined.")] = 8,
    sensitivity: Annotated[float, typer.Option(help="That rule-out holds.")] = 0.95,
    specificity: Annotated[float, typer.Option(help="That rule-in holds.")] = 0.95,
    coverage: Annotated[float, typer.Option(help="Of the prediction sets.")] = 0.9,
    novelty_rate: Annotated[
        float, typer.Option(help="Of slides like these, declined as unlike them.")
    ] = 0.01,
    threads: Annotated[int, typer.Option(min=1, help="Cores to use.")] = 2,
    slides: Annotated[
        Path | None,
        typer.Option(help="Folder of the slides, at any depth; reports then show some."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say who and how long; write nothing.")
    ] = False,
) -> None:
    """Train heads, calibrate, test once, and seal: a bundle with its card and evidence."""
    import torch

    from deepsmile_training.bundling.bundle import Workbench, make_bundle
    from deepsmile_training.bundling.plan import make_plan
    from deepsmile_training.encoders.encoder_file import home_of
    from deepsmile_training.mil.config import MilConfig, load_mil_config
    from deepsmile_training.prepared.prepared import open_prepared

    torch.set_num_threads(threads)
    plan = make_plan(
        name=name,
        version=version,
        notice=notice,
        extractor=extractor,
        encoder=encoder,
        labels=tuple(label),
        config=load_mil_config(config) if config else MilConfig(),
        min_tiles=min_tiles,
        sensitivity=sensitivity,
        specificity=specificity,
        coverage=coverage,
        novelty_rate=novelty_rate,
    )
    place = out or Settings().model_repository
    home = home_of(Settings().model_repository, encoder)
    cohort = open_prepared(prepared)
    with TemporaryDirectory() as work, stages() as stage, _originals(cohort, slides) as originals:
        bench = Workbench(
            repository=home,
            out=place,
            evidence=evidence or place,
            work=Path(work),
            command=_command(plan, threads) + (" --slides SLIDES" if slides else ""),
            threads=threads,
            stage=stage,
            originals=originals,
        )
        if dry_run:
            _tell(cohort, plan, bench)
        else:
            _say(make_bundle(cohort, plan, bench), bench)


@contextmanager
def _originals(prepared: "Prepared", folder: Path | None) -> "Iterator[Originals | None]":
    from deepsmile_training.bundling.examples import Originals
    from deepsmile_training.cohorts.slides import match_slides

    if folder is None:
        yield None
        return
    found = match_slides(prepared.cohort, folder).found
    with closing(Settings().reader) as reader:
        yield Originals(found, reader, lambda line: typer.echo(line, err=True))


def _command(plan: "Plan", threads: int) -> str:
    """What was run, without places; the plan that is kept beside it has every value."""
    from deepsmile_training.mil.config import MilConfig

    said = {"name", "version", "extractor", "encoder", "labels", "config"}
    promised = plan.model_dump(mode="json", exclude=said, exclude_defaults=True)
    words = ["deepsmile-train", "bundle", "PREPARED", "--extractor", plan.extractor]
    words += ["--encoder", plan.encoder, *(w for label in plan.labels for w in ("--label", label))]
    words += ["--name", plan.name, "--version", plan.version, "--threads", str(threads)]
    words += [] if plan.config == MilConfig() else ["--config", "CONFIG"]
    for key, value in promised.items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _tell(prepared: "Prepared", plan: "Plan", bench: "Workbench") -> None:
    from rich.console import Console
    from rich.table import Table

    from deepsmile_training.bundling.bundle import gather
    from deepsmile_training.bundling.forecast import COLUMNS, forecast

    told = forecast(gather(prepared, plan, bench), plan.config)
    table = Table(*COLUMNS, title=plan.name)
    for row in told.rows:
        table.add_row(*row)
    Console().print(table)
    typer.echo(f"{told.trainings} trainings, about {told.seconds:.0f} s")


def _say(made: "Bundle", bench: "Workbench") -> None:
    for name, head in made.file.provenance["heads"].items():
        test = head["test"]
        area, ece = test["auroc"], test["ece"]
        interval = f"({area['low']:.3f} to {area['high']:.3f})"
        typer.echo(
            f"{name}: AUROC {area['value']:.3f} {interval}, ECE {ece:.3f} on"
            f" {test['patients']} test patients"
        )
        typer.echo(f"{bench.evidence / head['evidence']['page']}")
    typer.echo(f"bundle {made.name} {made.digest}")
