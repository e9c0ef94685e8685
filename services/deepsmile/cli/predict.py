"""`deepsmile predict`: a slide through the API, with a progress bar."""

from pathlib import Path
from typing import Annotated

import typer

from deepsmile.cli.options import BundleName, JsonFlag, OutPath, RequestedMpp
from deepsmile.cli.progress import progress_bar
from deepsmile.cli.render import deliver
from deepsmile.client import Client
from deepsmile.errors import InternalError
from deepsmile.report import Report

UrlOption = Annotated[str, typer.Option(help="Where the service is.", envvar="DEEPSMILE_URL")]


SlideFile = Annotated[
    Path, typer.Argument(metavar="SLIDE", help="A slide file, or a zip of a slide's files.")
]


def predict(
    slide: SlideFile,
    url: UrlOption = "http://127.0.0.1:8000",
    bundle: BundleName = None,
    mpp: RequestedMpp = None,
    fresh: Annotated[bool, typer.Option(help="Compute again even if it was answered.")] = False,
    out: OutPath = None,
    json: JsonFlag = False,
) -> None:
    """Send a slide to a service and wait. Exit code 0: scored, 3: abstained, 1: an error."""
    with Client(url) as client:
        report = predict_with(client, slide, bundle, mpp, fresh)
    deliver(report, out, json)


def predict_with(
    client: Client, slide: Path, bundle: str | None, mpp: float | None, fresh: bool
) -> Report:
    """Upload, follow, fetch the report.

    Raises:
        DeepSmileError: the service's, or the job's own.
    """
    with progress_bar() as progress:
        job = client.predict(
            slide,
            bundle=bundle,
            mpp=mpp,
            fresh=fresh,
            on_upload=lambda sent, total: progress("upload, MiB", sent >> 20, total >> 20),
        )
        ended = client.wait(
            job.id,
            on_event=lambda event: progress(event.state, event.progress.done, event.progress.total),
        )
    if ended.result is None:
        raise ended.error.error() if ended.error else InternalError(f"job {job.id} has no result")
    return ended.result
