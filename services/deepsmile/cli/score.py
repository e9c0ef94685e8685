"""`deepsmile score`: the whole road in this process, without a server."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deepsmile.backends.onnx import OnnxBackend, available_cores
from deepsmile.bundle import load_bundle
from deepsmile.cli.options import EXIT_ABSTAINED, BundleName, RequestedMpp, SlidePath
from deepsmile.cli.progress import progress_bar
from deepsmile.cli.render import show_report
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.report import Report
from deepsmile.settings import Settings


def score(
    slide: SlidePath,
    bundle: BundleName = None,
    mpp: RequestedMpp = None,
    out: Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Score one slide here and now. Exit code 0: scored, 3: abstained, 1: an error."""
    report = score_here(slide, bundle, mpp, Settings())
    text = report.model_dump_json(indent=2)
    if out:
        out.write_text(text + "\n")
    if json:
        typer.echo(text)
    else:
        show_report(report, Console())
    if report.abstention:
        raise typer.Exit(EXIT_ABSTAINED)


def score_here(slide: Path, bundle: str | None, mpp: float | None, settings: Settings) -> Report:
    """Score a slide in this process, with a progress bar on stderr."""
    reader = settings.reader
    reader.start()  # its imports overlap with the loading of the models
    try:
        loaded = load_bundle(settings.model_repository, bundle or settings.default_bundle)
        backend = OnnxBackend(loaded, settings.encoder_threads or available_cores())
        with progress_bar() as progress:
            source = SlideSource(slide, mpp=mpp)
            return score_slide(source, loaded, backend, reader, progress=progress)
    finally:
        reader.close()
