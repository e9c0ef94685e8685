"""A report for people, in a terminal."""

from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from deepsmile.cli.options import EXIT_ABSTAINED, write
from deepsmile.report import HeadResult, Report, Scored


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
    """Scores first, then how they came about; no warning, code or hint is left out or cut."""
    parts = [_warnings(report), *_heads(report), *_reasons(report), _facts(report)]
    console.print(Group(*parts), markup=False)


def folding(*titles: str) -> list[Column]:
    """Columns that break a word too long for them, instead of cutting it."""
    return [Column(title, overflow="fold") for title in titles]


def _warnings(report: Report) -> RenderableType:
    return Text(f"{report.research_use_only}\n{report.notice}", style="bold yellow")


def _heads(report: Report) -> Iterator[Table]:
    scored = [head for head in report.heads if isinstance(head, Scored)]
    if not scored:
        return
    table = Table(*folding("head", "probability", "raw", "spread", "label", "operating point"))
    for head in scored:
        point = f"{head.operating_point.name} >= {head.operating_point.threshold:.3f}"
        scores = (head.probability, head.probability_raw, head.spread)
        label = head.label or "uncertain"
        table.add_row(head.head, *(f"{score:.3f}" for score in scores), label, point)
    yield table


def _reasons(report: Report) -> Iterator[Text]:
    """Why heads give no score or no label: lines of their own, for the code is looked up."""
    for head in report.heads:
        if head.reason:
            what = "no label" if isinstance(head, Scored) else "abstained"
            yield Text(f"{head.head}: {what}, {head.reason.code}: {head.reason.detail}")


def _facts(report: Report) -> Table:
    slide, tiles, run = report.slide, report.tiles, report.run
    table = Table.grid(*folding("", ""), padding=(0, 2))
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
        _add_set(table, head)
    for hint in dict.fromkeys(head.reason.hint for head in report.heads if head.reason):
        table.add_row("next step", hint)
    return table


def _add_set(table: Table, head: HeadResult) -> None:
    """What the head does not rule out."""
    if isinstance(head, Scored) and head.prediction_set:
        found = head.prediction_set
        classes = ", ".join(found.classes) or "neither class"
        table.add_row("set", f"{head.head}: {classes} ({found.coverage:.0%} coverage)")
