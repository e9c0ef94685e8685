"""Examples: one slide's way through the API, for the schema; made of the very models."""

from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from deepsmile.api.example_contract import CONTRACT, ENCODER, HEAD
from deepsmile.errors import JobCanceled
from deepsmile.report import (
    BundleReport,
    PredictionSet,
    Report,
    Run,
    Scored,
    SlideReport,
    TilesReport,
)
from deepsmile.wire import (
    BundleRef,
    BundleSummary,
    Fault,
    Job,
    JobEvent,
    JobState,
    Links,
    Progress,
    SlideRef,
    Wire,
)

ID = "0d9f6a3c5b7e4a1f8c2d6e9b0a4f7c13"
_SLIDE = "5a8cca39f100f85aa3ccea474cb46f139b4e7eafbe66ce59e2cb228c0e779868"
_BUNDLE = "d16853594438a115a8ca405ad4992841e532aad92ee6875e84d1fb974401cc00"
_START = datetime(2026, 11, 22, 20, 12, 50, tzinfo=UTC)
_NOTICE = "Trained on synthetic slides only; its scores mean nothing."


def _json(model: Wire | Report) -> dict[str, JsonValue]:
    content: dict[str, JsonValue] = model.model_dump(mode="json")
    return content


_ACCEPTED = Job(
    id=ID,
    state=JobState.ACCEPTED,
    progress=Progress(done=0, total=0),
    slide=SlideRef(source="upload", sha256=_SLIDE, bytes=1_383_223, mpp=None),
    bundle=BundleRef(name="demo", digest=_BUNDLE),
    attempt=0,
    cancel_requested=False,
    created_at=_START,
    started_at=None,
    finished_at=None,
    error=None,
    links=Links(
        self=f"/v1/jobs/{ID}", result=f"/v1/jobs/{ID}/result", events=f"/v1/jobs/{ID}/events"
    ),
)
_RUNNING = _ACCEPTED.model_copy(
    update={
        "state": JobState.ENCODING,
        "progress": Progress(done=96, total=412),
        "attempt": 1,
        "started_at": _START + timedelta(seconds=1),
    }
)
_REPORT = Report(
    notice=_NOTICE,
    software="deepsmile 0.1.0",
    requested_mpp=None,
    slide=SlideReport(
        sha256=_SLIDE,
        reader="cucim 26.10.0",
        reader_note="",
        format="aperio",
        levels=((46000, 32893), (11500, 8223), (2875, 2055)),
        mpp=(0.499, 0.499),
        mpp_source="aperio MPP",
        level_used=0,
        level_mpp=(0.499, 0.499),
        glass_grey=243,
    ),
    tiles=TilesReport(
        seen=5696, decoded=431, kept=412, used=412, size_um=256.0, size_px=224, tissue_mm2=27.001
    ),
    bundle=BundleReport(
        name="demo",
        version="1",
        digest=_BUNDLE,
        contract_digest=CONTRACT.digest,
        features_digest=CONTRACT.features.digest,
        encoder_sha256=ENCODER,
    ),
    heads=(
        Scored(
            head="msi",
            head_sha256=HEAD,
            calibration_digest=CONTRACT.heads[0].calibration_digest,
            positive="MSI-H",
            probability_raw=0.812345,
            probability=0.743218,
            calibration="platt",
            spread=0.041,
            members=5,
            label="MSI-H",
            operating_point=CONTRACT.heads[0].decision_point,
            prediction_set=PredictionSet(classes=("MSI-H",), coverage=0.9),
            novelty=3.918204,
            reason=None,
        ),
    ),
    run=Run(
        job_id=ID,
        started_at="2026-11-22T20:12:51+00:00",
        finished_at="2026-11-22T20:13:09+00:00",
        backend="onnxruntime 1.32.0 CPUExecutionProvider",
        timings_s={"qc": 0.4, "tiling": 1.1, "encoding": 16.2, "aggregating": 0.1, "total": 17.8},
    ),
)
_DONE = _RUNNING.model_copy(
    update={
        "state": JobState.COMPLETED,
        "progress": Progress(done=0, total=0),
        "finished_at": _START + timedelta(seconds=19),
        "result": _REPORT,
    }
)
_CANCELED = _RUNNING.model_copy(
    update={
        "state": JobState.CANCELED,
        "cancel_requested": True,
        "finished_at": _START + timedelta(seconds=3),
        "error": Fault.of(JobCanceled("canceled on the way")),
    }
)
_SUMMARY = BundleSummary(
    name="demo", version="1", digest=_BUNDLE, notice=_NOTICE, heads=("msi",), default=True
)

_OK: JsonValue = {"ok": True, "detail": "ok"}
_GONE: JsonValue = {"ok": False, "detail": "the database does not answer"}

EVENT = JobEvent(state=_RUNNING.state, progress=_RUNNING.progress, at=_START).model_dump_json()
EXAMPLES: dict[str, dict[str, JsonValue]] = {
    "accepted": _json(_ACCEPTED),
    "running": _json(_RUNNING),
    "done": _json(_DONE),
    "canceled": _json(_CANCELED),
    "page": {"jobs": [_json(_RUNNING)], "next": "41"},
    "report": _json(_REPORT),
    "bundles": {"bundles": [_json(_SUMMARY)]},
    "bundle": {
        **_json(_SUMMARY),
        "contract": CONTRACT.model_dump(mode="json"),
        "card": "# demo\n\nWhat it was trained on, how well it does, what it is not for.\n",
    },
    "alive": {"status": "alive", "version": "0.1.0", "max_upload_bytes": 34359738368},
    "ready": {"status": "ready", "parts": {"database": _OK, "bundle": _OK, "broker": _OK}},
    "down": {"status": "down", "parts": {"database": _GONE, "bundle": _OK, "broker": _OK}},
    "path": {"path": "/slides/S26-000123-A1-1.svs", "bundle": "demo"},
    "form": {"file": "(the bytes of slide.svs)", "bundle": "demo", "mpp": 0.25},
}
"""By the name that the schema gives them."""
