"""Report: what was scored, how, from which bytes; the same slide gives the same report.

Everything that may differ between two runs (times, ids) stands under `run` and nowhere else.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from deepsmile.contract import OperatingPoint
from deepsmile.errors import Abstention
from deepsmile.frames import PlanFacts, ReadCount, SlideFacts
from deepsmile.grid import REQUEST

RESEARCH_USE_ONLY = "Research use only. Not for diagnosis or treatment decisions."
DECIMALS = 6
"""Probabilities are rounded to this, below the differences between processors."""


class Part(BaseModel):
    """A piece of the report."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Reason(Part):
    """Why there is no score: a stable code, what was found, what to do next."""

    code: str
    detail: str
    hint: str

    @classmethod
    def of(cls, why: Abstention) -> Self:
        """An abstention as it is reported."""
        return cls(code=why.code, detail=why.detail, hint=why.hint)


class PredictionSet(Part):
    """The classes that a probability does not rule out; both or none: the head is uncertain."""

    classes: tuple[str, ...]
    coverage: float
    """Promised share of slides whose class is in their set."""


class Scored(Part):
    """A head's answer."""

    outcome: Literal["scored"] = "scored"
    head: str
    head_sha256: str
    calibration_digest: str
    positive: str
    """The class that the probabilities are of."""
    probability_raw: float
    """Mean of the members' softmax probabilities."""
    probability: float
    """Calibrated."""
    calibration: str
    """Method, or "none"."""
    spread: float
    """Standard deviation (ddof 0) of the members' raw probabilities; 0 for a single member."""
    members: int
    label: str | None
    """Of the two classes, by the operating point; null where the head is uncertain."""
    operating_point: OperatingPoint
    prediction_set: PredictionSet | None
    """null: the head makes none."""
    novelty: float | None
    """How unlike the training slides the slide is; null: the head does not tell."""
    reason: Reason | None
    """Why there is no label; null: there is one."""


class Abstained(Part):
    """A head that declines to score."""

    outcome: Literal["abstained"] = "abstained"
    head: str
    head_sha256: str
    calibration_digest: str
    reason: Reason


HeadResult = Annotated[Scored | Abstained, Field(discriminator="outcome")]


class SlideReport(Part):
    """Which bytes, and how they were read."""

    sha256: str
    reader: str
    reader_note: str
    format: str
    levels: tuple[tuple[int, int], ...]
    mpp: tuple[float, float] | None
    mpp_source: str | None
    level_used: int | None
    level_mpp: tuple[float, float] | None
    glass_grey: int | None


class TilesReport(Part):
    """How many tiles."""

    seen: int
    """On the grid."""
    decoded: int
    """Not ruled out by the overview."""
    kept: int
    """Decoded, with tissue."""
    used: int
    """Of the score: all that were kept; a tile budget stops the decoding, not the use."""
    size_um: float
    size_px: int
    tissue_mm2: float


class BundleReport(Part):
    """Which model."""

    name: str
    version: str
    digest: str
    contract_digest: str
    features_digest: str
    encoder_sha256: str


class Run(Part):
    """What may differ from run to run."""

    job_id: str | None
    started_at: str
    finished_at: str
    backend: str
    timings_s: dict[str, float]


class Report(Part):
    """The answer to one slide."""

    format: Literal["deepsmile-report/1"] = "deepsmile-report/1"
    research_use_only: str = RESEARCH_USE_ONLY
    notice: str
    """The bundle's own warning."""
    software: str
    requested_mpp: float | None
    slide: SlideReport
    tiles: TilesReport
    bundle: BundleReport
    heads: tuple[HeadResult, ...]
    run: Run

    @property
    def abstention(self) -> Reason | None:
        """The first reason, when no head gave a label."""
        reasons = [head.reason for head in self.heads]
        return reasons[0] if all(reasons) else None

    def stable(self) -> dict[str, Any]:
        """All but `run`: equal for equal slides and bundles."""
        return self.model_dump(mode="json", exclude={"run"})


def differences(first: Report, second: Report) -> list[str]:
    """Where two reports differ outside `run`, as "path: one != other"; empty when they agree."""
    return list(_differences("", first.stable(), second.stable()))


def _differences(path: str, one: Any, other: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _differences(f"{path}.{key}".lstrip("."), one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _differences(f"{path}[{index}]", a, b)
    elif one != other:
        yield f"{path}: {one!r} != {other!r}"


def slide_report(
    sha256: str,
    facts: SlideFacts,
    plan: PlanFacts | None,
    *,
    requested_mpp: float | None,
    note: str,
) -> SlideReport:
    """What is known of the slide; the plan is missing when we abstained before it."""
    mpp, mpp_source = _mpp(facts, plan, requested_mpp)
    return SlideReport(
        sha256=sha256,
        reader=facts.reader,
        reader_note=note,
        format=facts.format,
        levels=facts.levels,
        mpp=mpp,
        mpp_source=mpp_source,
        level_used=plan.level if plan else None,
        level_mpp=plan.level_mpp if plan else None,
        glass_grey=plan.glass_grey if plan else None,
    )


def _mpp(
    facts: SlideFacts, plan: PlanFacts | None, requested: float | None
) -> tuple[tuple[float, float] | None, str | None]:
    """The scale that was gone by: the plan's; before there is one the request's or the file's."""
    if plan:
        return plan.mpp, plan.mpp_source
    if requested is not None:
        return (requested, requested), REQUEST
    return facts.mpp_stated, facts.mpp_stated_by


def tiles_report(
    plan: PlanFacts | None, count: ReadCount | None, size_um: float, size_px: int
) -> TilesReport:
    """Counts; all zero when we abstained before the plan."""
    kept = count.kept if count else 0
    return TilesReport(
        seen=plan.columns * plan.rows if plan else 0,
        decoded=count.decoded if count else 0,
        kept=kept,
        used=kept,
        size_um=size_um,
        size_px=size_px,
        tissue_mm2=round(kept * (size_um / 1000) ** 2, 3),
    )
