"""Hot swap: a new version of a bundle is published while slides are scored with the former one."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from tritonclient import grpc

from deepsmile.attempt import attempt_next
from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle, load_bundle, load_superseded, write_bundle
from deepsmile.digest import digest_of_file
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.report import Report, Scored, differences
from deepsmile.scorer import BundleScorer, Work
from deepsmile.settings import Settings
from deepsmile.shelf import Shelf
from deepsmile.stages import Progress, no_progress
from deepsmile.store.database import Database
from deepsmile.store.jobs import get_job, get_report
from deepsmile.triton.config import Target, write_configs
from deepsmile.triton.server import TritonServer
from deepsmile.uploads import upload_path
from deepsmile.wire import JobState
from deepsmile_training.publishing import publish
from tests.jobs import accept
from tests.service import wait_until
from tests.triton.test_proof import scale

pytestmark = pytest.mark.slow

WORKERS = 3


def reseal(repository: Path, name: str, version: str) -> Bundle:
    """Write a bundle of the tiny kind again, of the models that lie there as this version."""
    content: dict[str, Any] = json.loads((repository / f"{name}.bundle.json").read_text())
    del content["digest"]
    encoder, head = (f"{name}_{part}/{version}/model.onnx" for part in ("encoder", "head"))
    files = {
        place: digest_of_file(repository / place) for place in (content["card"], encoder, head)
    }
    content["contract"]["features"]["encoder"]["sha256"] = files[encoder]
    content["contract"]["heads"][0]["sha256"] = files[head]
    return write_bundle(repository, {**content, "version": version, "files": files})


def publish_second_version(repository: Path) -> Bundle:
    """Models first, then the configuration, and last the bundle that sends requests their way."""
    changes = (("tiny_encoder", "scale", 0.8), ("tiny_head", "weights", 3.0))
    for model, constant, factor in changes:
        partial = repository / f"{model}.partial"
        partial.mkdir()
        shutil.copy(repository / model / "1" / "model.onnx", partial)
        scale(partial / "model.onnx", constant, factor)
        partial.rename(repository / model / "2")
    write_configs(repository, Target.GPU)
    return reseal(repository, "tiny", "2")


def versions_ready(url: str) -> set[str]:
    client = grpc.InferenceServerClient(url)
    listed = client.get_model_repository_index().models
    client.close()
    return {model.version for model in listed if model.state == "READY"}


def probability(report: Report) -> float:
    (scored,) = report.heads
    assert isinstance(scored, Scored)
    return scored.probability_raw


@pytest.fixture
def settings(own: TritonServer, served: Path, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        model_repository=served,
        triton_url=own.url,
        triton_timeout_s=5,
        triton_patience_s=30,
        retry_pause_s=0,
    )


def test_every_job_is_scored_with_the_bundle_it_was_accepted_for(
    settings: Settings, database: Database, reader: Reader, big_slide: Path
) -> None:
    """The server loads the new version in the middle of the first slide."""
    repository = settings.model_repository
    first = load_bundle(repository, "tiny")
    settings.uploads.mkdir(parents=True)

    def accepted(bundle: Bundle) -> str:
        slide = {"slide_sha256": digest_of_file(big_slide), "identity": uuid4().hex}
        job = accept(database, bundle_digest=bundle.digest, fresh=True, **slide)
        shutil.copy(big_slide, upload_path(settings.uploads, job.id))
        return job.id

    scorer, published = BundleScorer(settings), []

    def publishing(work: Work, progress: Progress) -> Report:
        """Score, and publish in the middle of the first slide."""

        def heard(stage: str, done: int, total: int) -> None:
            if stage == "encoding" and done > 0 and not published:
                published.append(publish_second_version(repository))
                wait_until(lambda: versions_ready(settings.triton_url) == {"1", "2"})
            progress(stage, done, total)

        return scorer(work, heard)

    jobs = [(accepted(first), first) for _ in range(2)]
    attempt_next("w", database, publishing, settings)
    (second,) = published
    jobs += [(accepted(bundle), bundle) for bundle in (second, first, second)]
    for _ in jobs[1:]:
        attempt_next("w", database, scorer, settings)
    source = SlideSource(big_slide)
    expected = {
        bundle.digest: score_slide(source, bundle, OnnxBackend(bundle, 1), reader)
        for bundle in (load_superseded(repository, "tiny", first.digest), second)
    }
    for job_id, bundle in jobs:
        job = get_job(database, job_id)
        assert (job.state, job.attempt, job.losses) == (JobState.COMPLETED, 1, 0)
        report = Report.model_validate_json(get_report(database, job_id) or "")
        assert differences(expected[bundle.digest], report) == []
        assert report.run.backend.startswith("triton")
    assert len({probability(report) for report in expected.values()}) == 2


def test_workers_score_on_while_a_version_is_published(
    settings: Settings, reader: Reader, big_slide: Path, tmp_path: Path
) -> None:
    """In the order of the publisher that ships: the bundle may be there before Triton has it."""
    repository = settings.model_repository
    first = load_bundle(repository, "tiny")
    candidate = publish_second_version(Path(shutil.copytree(repository, tmp_path / "candidate")))
    source = SlideSource(big_slide, digest_of_file(big_slide))
    all_have_begun = Barrier(WORKERS + 1)

    def work(worker: int) -> list[Report]:
        """Score with what is published, until that is the second version."""
        scorer, shelf, reports = BundleScorer(settings), Shelf(repository), []
        while not reports or reports[-1].bundle.digest == first.digest:
            digest = shelf.get("tiny").digest
            if not reports:
                all_have_begun.wait(60)
            slide = Work(str(worker), source, "tiny", digest, fresh=True)
            reports.append(scorer(slide, no_progress))
        return reports

    with ThreadPoolExecutor(WORKERS) as pool:
        working = [pool.submit(work, worker) for worker in range(WORKERS)]
        all_have_begun.wait(60)
        second = publish(candidate, repository, "# Second\n", {})
        reports = [report for one in working for report in one.result()]
    expected = {
        bundle.digest: score_slide(source, bundle, OnnxBackend(bundle, 1), reader)
        for bundle in (load_superseded(repository, "tiny", first.digest), second)
    }
    assert {report.bundle.digest for report in reports} == set(expected)
    for report in reports:
        assert differences(expected[report.bundle.digest], report) == []
    assert len({probability(report) for report in expected.values()}) == 2
