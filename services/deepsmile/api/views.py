"""Views: rows of the store and bundles as they look on the wire."""

from datetime import UTC, datetime

from deepsmile.bundle import Bundle
from deepsmile.report import Report
from deepsmile.store.rows import StoredEvent, StoredJob
from deepsmile.wire import (
    BundleDetail,
    BundleRef,
    BundleSummary,
    Job,
    JobEvent,
    Links,
    Progress,
    SlideRef,
)


def job_view(job: StoredJob, report: str | None = None) -> Job:
    """A job; with its report where that was asked for."""
    here = f"/v1/jobs/{job.id}"
    return Job(
        id=job.id,
        state=job.state,
        progress=Progress(done=job.stage_done, total=job.stage_total),
        slide=SlideRef(
            source=job.source, sha256=job.slide_sha256, bytes=job.slide_bytes, mpp=job.mpp
        ),
        bundle=BundleRef(name=job.bundle_name, digest=job.bundle_digest),
        attempt=job.attempt,
        cancel_requested=job.cancel_requested,
        created_at=_time(job.created_at),
        started_at=_time(job.started_at) if job.started_at else None,
        finished_at=_time(job.finished_at) if job.finished_at else None,
        error=job.error,
        links=Links(self=here, result=f"{here}/result", events=f"{here}/events"),
        result=Report.model_validate_json(report) if report else None,
    )


def event_view(event: StoredEvent) -> JobEvent:
    """A change of a job."""
    return JobEvent(
        state=event.state,
        progress=Progress(done=event.done, total=event.total),
        at=_time(event.at),
        error=event.error,
    )


def bundle_view(bundle: Bundle, default: str) -> BundleSummary:
    """A model in a list."""
    return BundleSummary(
        name=bundle.name,
        version=bundle.file.version,
        digest=bundle.digest,
        notice=bundle.file.notice,
        heads=tuple(head.name for head in bundle.contract.heads),
        default=bundle.name == default,
    )


def bundle_detail(bundle: Bundle, default: str) -> BundleDetail:
    """A model with all that is known of it."""
    return BundleDetail(
        **bundle_view(bundle, default).model_dump(), contract=bundle.contract, card=bundle.card()
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
