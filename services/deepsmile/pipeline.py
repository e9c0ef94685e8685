"""Pipeline: the road from a slide file to a report.

slide -> facts -> plan -> tile batches -> features -> bag -> logits -> scores -> report

Training leaves the road after `extract` and comes back with a bundle.
"""

import time
from collections.abc import Generator, Iterator
from concurrent.futures import wait
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsmile import __version__
from deepsmile.answer import answer
from deepsmile.backends import Backend, TileEncoder
from deepsmile.bag import FeatureBag, Features, check_contract, in_reading_order
from deepsmile.bundle import Bundle
from deepsmile.contract import FeatureContract, Head
from deepsmile.digest import digest_beside
from deepsmile.encoding import encode_batches
from deepsmile.errors import Abstention, BundleMismatch, TooLittleTissue
from deepsmile.frames import PlanFacts, ReadCount, SlideFacts
from deepsmile.novelty import check_novelty
from deepsmile.reading import Looked, Reader
from deepsmile.report import (
    Abstained,
    BundleReport,
    HeadResult,
    Reason,
    Report,
    Run,
    Scored,
    slide_report,
    tiles_report,
)
from deepsmile.stages import Progress, Stages, no_progress
from deepsmile.tiles import TileBatch

CHECK_S = 0.5
"""How often somebody may cancel while there is nothing to do but to hash."""


@dataclass(frozen=True)
class SlideSource:
    """A slide to score."""

    path: Path
    sha256: str | None = None
    """Known from the upload; None: computed beside the reading."""
    mpp: float | None = None
    """Microns per pixel of level 0, overriding the file's."""


@dataclass
class Extraction:
    """What reading and encoding a slide gave: `bag` or, instead, `abstention`."""

    slide: SlideFacts | None = None
    plan: PlanFacts | None = None
    count: ReadCount | None = None
    bag: FeatureBag | None = None
    sha256: str = ""
    abstention: Abstention | None = None
    timings_s: dict[str, float] = field(default_factory=dict)

    def need_bag(self) -> FeatureBag:
        """The bag; raises the abstention where there is none."""
        if self.bag is None:
            assert self.abstention is not None, "it is the one or the other"
            raise self.abstention
        return self.bag


@dataclass(frozen=True)
class Start:
    """When the work began."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=time.perf_counter)


def score_slide(
    source: SlideSource,
    bundle: Bundle,
    backend: Backend,
    reader: Reader,
    *,
    progress: Progress = no_progress,
    job_id: str | None = None,
) -> Report:
    """Score one slide with every head of a bundle.

    Raises:
        SlideError: the file cannot be read. An `Abstention` is no error: it is in the report.
    """
    start = Start()
    extraction = extract(source, bundle.contract.features, backend, reader, progress=progress)
    return score_extraction(source, extraction, bundle, backend, start, job_id=job_id)


def score_extraction(
    source: SlideSource,
    extraction: Extraction,
    bundle: Bundle,
    backend: Backend,
    start: Start,
    *,
    job_id: str | None = None,
) -> Report:
    """The second half of `score_slide`, for a slide that was read now or before."""
    timings_s, aggregating = dict(extraction.timings_s), time.perf_counter()
    heads = tuple(_head_results(extraction, bundle, backend))
    timings_s["aggregating"] = time.perf_counter() - aggregating
    timings_s["total"] = time.perf_counter() - start.clock
    run = Run(
        job_id=job_id,
        started_at=start.at.isoformat(),
        finished_at=datetime.now(UTC).isoformat(),
        backend=backend.name,
        timings_s={name: round(value, 3) for name, value in timings_s.items()},
    )
    return _report(source, extraction, bundle, heads, run)


def extract(
    source: SlideSource,
    contract: FeatureContract,
    encoder: TileEncoder,
    reader: Reader,
    *,
    progress: Progress = no_progress,
) -> Extraction:
    """Slide to feature bag; training calls this very function.

    Raises:
        SlideError: the file cannot be read.
    """
    extraction = Extraction()
    features: list[Features] = []
    cells: list[NDArray[np.int32]] = []
    with digest_beside(source.path, source.sha256) as sha256:
        stages = Stages(progress, extraction.timings_s)
        try:
            with (
                closing(_read(source, contract, reader, extraction, stages)) as tiles,
                closing(encode_batches(tiles, encoder)) as encoded,
            ):
                for batch_cells, batch_features in encoded:
                    cells.append(batch_cells)
                    features.append(batch_features)
                    stages.advance(len(batch_cells))
        except Abstention as abstention:
            extraction.abstention = abstention
        stages.enter("aggregating", 0)
        while not wait([sha256], CHECK_S).done:
            stages.advance(0)  # whoever cancels does not wait for the hash
        extraction.sha256 = sha256.result()
    if extraction.abstention is None:
        assert extraction.plan is not None, "a reading to the end has had a plan"
        joined, places = in_reading_order(features, cells, contract.encoder.feature_dim)
        extraction.bag = FeatureBag(
            features=joined,
            cells=places,
            origin_l0=extraction.plan.origin_l0,
            step_l0=extraction.plan.step_l0,
            slide_sha256=extraction.sha256,
            features_digest=contract.digest,
        )
    return extraction


def score_bag(bag: FeatureBag, head: Head, bundle: Bundle, backend: Backend) -> Scored:
    """Feature bag to one head's calibrated answer.

    Raises:
        TooLittleTissue: fewer tiles than the head asks for.
        OutOfDistribution: a slide unlike those that the head was trained on.
        BundleMismatch: the bag was made under another contract, or the logits are not finite.
    """
    check_contract(bag, bundle.contract.features.digest)
    tiles = len(bag.features)
    if tiles < head.min_tiles:
        raise TooLittleTissue(f"{tiles} tissue tiles; the head {head.name} needs {head.min_tiles}")
    novelty = check_novelty(bag.features, head, bundle)
    logits, _attention = backend.score(head, bag.features)  # (M, 2), (M, N)
    if not np.isfinite(logits).all():
        raise BundleMismatch(f"the head {head.name} gives logits that are not finite")
    return answer(head, positive_probabilities(logits), novelty)


def positive_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the two classes, positive class: (M, 2) -> (M,)."""
    margin = logits[:, 1].astype(np.float64) - logits[:, 0]  # (M,)
    return 1 / (1 + np.exp(-np.clip(margin, -700, 700)))


def _read(
    source: SlideSource,
    contract: FeatureContract,
    reader: Reader,
    extraction: Extraction,
    stages: Stages,
) -> Generator[TileBatch]:
    """Tile batches; the facts and counts go into `extraction` as they pass by."""
    stages.enter("qc", 0)
    read = 0
    with closing(reader.read(source.path, contract, mpp=source.mpp)) as events:
        for event in events:
            match event:
                case SlideFacts():
                    extraction.slide = event
                    stages.enter("tiling", 0)
                case Looked():
                    stages.at(event.done, event.total)
                case PlanFacts():
                    extraction.plan = event
                    most = contract.budget.max_tiles or event.candidates
                    stages.enter("encoding", min(event.candidates, most))
                case TileBatch():
                    read += len(event.cells)
                    stages.expect(read + event.to_come)
                    yield event
                case ReadCount():
                    extraction.count = event
                    stages.expect(event.kept)
                    extraction.timings_s["reader_cpu"] = event.cpu_s


def _head_results(extraction: Extraction, bundle: Bundle, backend: Backend) -> Iterator[HeadResult]:
    for head in bundle.contract.heads:
        try:
            yield score_bag(extraction.need_bag(), head, bundle, backend)
        except Abstention as why:
            yield Abstained(
                head=head.name,
                head_sha256=head.sha256,
                calibration_digest=head.calibration_digest,
                reason=Reason.of(why),
            )


def _report(
    source: SlideSource,
    extraction: Extraction,
    bundle: Bundle,
    heads: tuple[HeadResult, ...],
    run: Run,
) -> Report:
    facts, contract, tile = extraction.slide, bundle.contract, bundle.contract.features.tile
    assert facts is not None, "every abstention comes after the slide was opened"
    note = extraction.count.reader_note if extraction.count else facts.reader_note
    return Report(
        notice=bundle.file.notice,
        software=f"deepsmile {__version__}",
        requested_mpp=source.mpp,
        slide=slide_report(
            extraction.sha256, facts, extraction.plan, requested_mpp=source.mpp, note=note
        ),
        tiles=tiles_report(extraction.plan, extraction.count, tile.size_um, tile.size_px),
        bundle=BundleReport(
            name=bundle.name,
            version=bundle.file.version,
            digest=bundle.digest,
            contract_digest=contract.digest,
            features_digest=contract.features.digest,
            encoder_sha256=contract.features.encoder.sha256,
        ),
        heads=heads,
        run=run,
    )
