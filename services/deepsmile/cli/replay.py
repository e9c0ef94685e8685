"""`deepsmile replay`: prove that a report can be had again from its slide."""

from pathlib import Path
from typing import Annotated

import typer

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
    different = differences(original, again)
    for line in different:
        typer.echo(line)
    if different:
        raise typer.Exit(EXIT_DIFFERENT)
    typer.echo("The report is reproduced, byte for byte but for times and ids.")


def _load(path: Path) -> Report:
    try:
        return Report.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RequestInvalid(f"{path.name} is no report of ours: {error}") from error
