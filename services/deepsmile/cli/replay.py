"""`deepsmile replay`: prove that a report can be had again from its slide."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from deepsmile.bundle import load_bundle
from deepsmile.cli.options import EXIT_DIFFERENT, SlidePath
from deepsmile.cli.score import score_here
from deepsmile.errors import BundleMismatch, RequestInvalid
from deepsmile.report import Report, differences
from deepsmile.settings import Settings

ReportPath = Annotated[Path, typer.Argument(metavar="REPORT", help="A report written as JSON.")]


def replay(report: ReportPath, slide: SlidePath) -> None:
    """Score the slide again and compare. Exit code 0: equal but for times and ids, 4: not."""
    settings = Settings()
    original = _load(report)
    bundle = load_bundle(settings.model_repository, original.bundle.name)
    if bundle.digest != original.bundle.digest:
        raise BundleMismatch(
            f"bundle {bundle.name} is now {bundle.digest[:12]},"
            f" the report was made with {original.bundle.digest[:12]}"
        )
    again = score_here(slide, bundle.name, original.requested_mpp, settings)
    typer.echo(f"{again.research_use_only}\n{again.notice}")
    different = differences(original, again)
    if not different:
        typer.echo("The report is reproduced, byte for byte but for times and ids.")
        return
    _show(different, same_slide=original.slide.sha256 == again.slide.sha256)
    raise typer.Exit(EXIT_DIFFERENT)


def _show(different: list[str], *, same_slide: bool) -> None:
    if not same_slide:
        typer.echo("This is another slide than the report's: their SHA-256 differ.")
    typer.echo("\nreport != now")
    for line in different:
        typer.echo(line)
    count = "1 difference" if len(different) == 1 else f"{len(different)} differences"
    typer.echo(f"\nThe report is not reproduced: {count}.")


def _load(path: Path) -> Report:
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise _no_report(path, error.strerror or "it cannot be read") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _no_report(path, f"{place}: {first['msg']}".removeprefix(": ")) from error


def _no_report(path: Path, why: str) -> RequestInvalid:
    return RequestInvalid(
        f"{path.name} is no report of ours: {why}",
        hint="Give a report, as `deepsmile score --out` writes it, not a job: the report of a job"
        " is what GET /v1/jobs/ID/result answers.",
    )
