"""Scorer: what a worker process keeps ready between jobs: bundles, their backend, a reader."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from deepsmile.backends import Backend
from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import Bundle
from deepsmile.digest import Between, nothing
from deepsmile.kept import KeptFeatures
from deepsmile.pipeline import SlideSource, Start, extract, score_extraction
from deepsmile.precision import CPU_FACTS, check_cpu, local_backend
from deepsmile.report import Report
from deepsmile.settings import Settings
from deepsmile.shelf import Shelf
from deepsmile.stages import Progress, Repeated, no_progress
from deepsmile.wire import JobState


@dataclass(frozen=True)
class Work:
    """One slide to score with one bundle."""

    job_id: str
    slide: SlideSource
    bundle_name: str
    bundle_digest: str
    fresh: bool = False
    """Read the slide even if its features are kept."""


Scorer = Callable[[Work, Progress], Report]
MakeScorer = Callable[[Settings], Scorer]
"""Called once in every worker process, with its first job."""


class BundleScorer:
    """Scores in this process, or on a Triton server; the models of the last bundle stay at hand."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shelf, self._reader = Shelf(settings.model_repository), settings.reader
        self._kept = KeptFeatures(
            settings.features, settings.keep_features_bytes, settings.disk_reserve_bytes
        )
        self._backend: tuple[str, AbstractContextManager[Backend]] | None = None
        self._told = Repeated(no_progress, JobState.FETCHING)

    def __call__(self, work: Work, progress: Progress) -> Report:
        """Score a slide, with the very bundle that the job was accepted for.

        Raises:
            DeepSmileError: as `extract` and `Shelf.find`.
        """
        self._told = Repeated(progress, JobState.FETCHING)
        bundle = self._shelf.find(work.bundle_name, work.bundle_digest)
        contract, start = bundle.contract.features, Start()
        with self._backend_of(bundle) as backend:
            known = None if work.fresh else self._kept.find(work.slide, contract, backend.runtime)
            extraction = known or extract(
                work.slide, contract, backend, self._reader, progress=self._told
            )
            report = score_extraction(
                work.slide, extraction, bundle, backend, start, job_id=work.job_id
            )
        if known is None:  # only now is it sure that the right encoder gave them
            self._kept.keep(work.slide, extraction, backend.runtime)
        return report

    def _backend_of(self, bundle: Bundle) -> AbstractContextManager[Backend]:
        """A backend to enter for each slide."""
        if self._backend is None or self._backend[0] != bundle.digest:
            self._backend = None  # free the old models before the new ones are loaded
            made = make_backend(bundle, self._settings, between=self._go_on)
            self._backend = (bundle.digest, made)
        return self._backend[1]

    def _go_on(self) -> None:
        """For a backend that waits: whoever hears of progress may stop this very job."""
        self._told.again()


def make_backend(
    bundle: Bundle, settings: Settings, facts: Path = CPU_FACTS, *, between: Between = nothing
) -> AbstractContextManager[Backend]:
    """The backend that the settings ask for, to enter for each slide.

    `between` the times that it asks a server again, it may be stopped.

    Raises:
        BundleMismatch: what was measured of the bundle does not hold on this CPU.
        BundleCorrupt: a model changed since the bundle was verified.
    """
    if settings.triton is None:
        return nullcontext(local_backend(bundle, settings.threads, facts))
    # A server is held to what the models give here, and one on this machine errs just as we do.
    check_cpu(bundle, facts)
    return TritonBackend(bundle, settings.triton, between)
