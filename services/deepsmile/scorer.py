"""Scorer: what a worker process keeps ready between jobs: bundles, their backend, a reader."""

from collections.abc import Callable
from dataclasses import dataclass

from deepsmile.backends.onnx import OnnxBackend, available_cores
from deepsmile.bundle import Bundle
from deepsmile.errors import BundleMismatch
from deepsmile.pipeline import Progress, SlideSource, score_slide
from deepsmile.report import Report
from deepsmile.settings import Settings
from deepsmile.shelf import Shelf


@dataclass(frozen=True)
class Work:
    """One slide to score with one bundle."""

    job_id: str
    slide: SlideSource
    bundle_name: str
    bundle_digest: str


Scorer = Callable[[Work, Progress], Report]
MakeScorer = Callable[[Settings], Scorer]
"""Called once in every worker process, with its first job."""


class OnnxScorer:
    """Scores with ONNX Runtime in this process; the models of the last bundle stay loaded."""

    def __init__(self, settings: Settings) -> None:
        self._threads = settings.encoder_threads or available_cores()
        self._shelf, self._reader = Shelf(settings.model_repository), settings.reader
        self._backend: tuple[str, OnnxBackend] | None = None

    def __call__(self, work: Work, progress: Progress) -> Report:
        """Score a slide.

        Raises:
            BundleMismatch: the bundle of that name is not the one the job was accepted for.
            DeepSmileError: as `score_slide` and `Shelf.get`.
        """
        bundle = self._shelf.get(work.bundle_name)
        if bundle.digest != work.bundle_digest:
            raise BundleMismatch(
                f"the bundle {bundle.name} was replaced after the job was accepted",
                hint="Send the slide again to score it with the bundle that is there now.",
            )
        backend = self._backend_of(bundle)
        return score_slide(
            work.slide, bundle, backend, self._reader, progress=progress, job_id=work.job_id
        )

    def _backend_of(self, bundle: Bundle) -> OnnxBackend:
        if self._backend is None or self._backend[0] != bundle.digest:
            self._backend = None  # free the old models before the new ones are loaded
            self._backend = (bundle.digest, OnnxBackend(bundle, self._threads))
        return self._backend[1]
