"""`deepsmile score`: the whole road in this process, without a server."""

from pathlib import Path

from deepsmile.bundle import load_bundle
from deepsmile.cli.options import BundleName, JsonFlag, OutPath, RequestedMpp, SlidePath
from deepsmile.cli.progress import progress_bar
from deepsmile.cli.render import deliver
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.precision import local_backend
from deepsmile.report import Report
from deepsmile.settings import Settings


def score(
    slide: SlidePath,
    bundle: BundleName = None,
    mpp: RequestedMpp = None,
    out: OutPath = None,
    json: JsonFlag = False,
) -> None:
    """Score one slide here and now. Exit code 0: scored, 3: abstained, 1: an error."""
    deliver(score_here(slide, bundle, mpp, Settings()), out, json)


def score_here(slide: Path, bundle: str | None, mpp: float | None, settings: Settings) -> Report:
    """Score a slide in this process, with a progress bar on stderr."""
    reader = settings.reader
    reader.start()  # its imports overlap with the loading of the models
    try:
        loaded = load_bundle(settings.model_repository, bundle or settings.default_bundle)
        backend = local_backend(loaded, settings.threads)
        with progress_bar() as progress:
            source = SlideSource(slide, mpp=mpp)
            return score_slide(source, loaded, backend, reader, progress=progress)
    finally:
        reader.close()
