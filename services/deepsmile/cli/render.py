"""A report for people, in a terminal."""

from pathlib import Path

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from deepsmile.cli.options import EXIT_ABSTAINED, write
from deepsmile.report import Abstained, HeadResult, Report, Scored


def deliver(report: Report, out: Path | None, as_json: bool) -> None:
    """Print and write a report; exit code 3 when every head abstained."""
    text = report.model_dump_json(indent=2)
    if as_json:
        typer.echo(text)
    else:
        show_report(report, Console())
    if out:
        write(out, f"{text}\n".encode())
    if report.abstention:
        raise typer.Exit(EXIT_ABSTAINED)


def show_report(report: Report, console: Console) -> None:
    """Scores first, then how they came about; the warnings are never left out."""
    console.print(Group(_warnings(report), _heads(report), _facts(report)), markup=False)


def _warnings(report: Report) -> RenderableType:
    return Text(f"{report.research_use_only}\n{report.notice}", style="bold yellow")


def _heads(report: Report) -> Table:
    table = Table("head", "probability", "raw", "spread", "label", "operating point")
    for head in report.heads:
        table.add_row(*_row(head))
    return table


def _row(head: HeadResult) -> tuple[str, ...]:
    match head:
        case Scored():
            point = f"{head.operating_point.name} >= {head.operating_point.threshold:.3f}"
            scores = (head.probability, head.probability_raw, head.spread)
            label = head.label or "uncertain"
            return (head.head, *(f"{score:.3f}" for score in scores), label, point)
        case Abstained():
            return (head.head, "abstained", "", "", head.reason.code, head.reason.detail)


def _facts(report: Report) -> Table:
    slide, tiles, run = report.slide, report.tiles, report.run
    table = Table.grid(padding=(0, 2))
    mpp = f"{slide.mpp[0]:.4g} um per px ({slide.mpp_source})" if slide.mpp else "unknown"
    level = f"level {slide.level_used}" if slide.level_used is not None else "none"
    table.add_row("slide", f"{slide.sha256[:16]}  {slide.format}, {slide.reader}, {level}, {mpp}")
    counts = f"{tiles.seen} seen, {tiles.decoded} decoded, {tiles.kept} kept, {tiles.used} used"
    table.add_row("tiles", f"{counts} ({tiles.tissue_mm2:g} mm2 of tissue)")
    bundle = report.bundle
    table.add_row(
        "bundle", f"{bundle.name} {bundle.version}, contract {bundle.contract_digest[:16]}"
    )
    times = ", ".join(f"{name} {seconds:.2f}" for name, seconds in run.timings_s.items())
    table.add_row("seconds", f"{times}  ({run.backend})")
    for head in report.heads:
        _add_doubts(table, head)
    return table


def _add_doubts(table: Table, head: HeadResult) -> None:
    """What the head does not rule out, and what to do where it gave no label."""
    if isinstance(head, Scored) and head.prediction_set:
        found = head.prediction_set
        classes = ", ".join(found.classes) or "neither class"
        table.add_row("set", f"{head.head}: {classes} ({found.coverage:.0%} coverage)")
    if head.reason:
        table.add_row("next step", head.reason.hint)
