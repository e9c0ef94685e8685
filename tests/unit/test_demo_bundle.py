"""The bundle and the two slides that come with the code, without torch."""

from pathlib import Path

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle, load_bundle
from deepsmile.cli.demo import demo_slides
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.report import Report, Scored
from deepsmile.tiles import TileBatch
from tests import making

REPOSITORY = Path(__file__).parents[2] / "model_repository"
LABELS = {
    "heterogeneous.svs": {"heterogeneity": "heterogeneous", "cellularity": "cellular"},
    "homogeneous.svs": {"heterogeneity": "homogeneous", "cellularity": "paucicellular"},
}
WARNING = "synthetic data, no clinical meaning"


@pytest.fixture(scope="module")
def demo_bundle() -> Bundle:
    return load_bundle(REPOSITORY, "demo")


@pytest.fixture(scope="module")
def demo_backend(demo_bundle: Bundle) -> OnnxBackend:
    return OnnxBackend(demo_bundle, threads=1)


@pytest.fixture(scope="module")
def reports(demo_bundle: Bundle, demo_backend: OnnxBackend, reader: Reader) -> dict[str, Report]:
    return {
        path.name: score_slide(SlideSource(path), demo_bundle, demo_backend, reader)
        for path in demo_slides()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", LABELS)
def test_the_shipped_bundle_scores_its_two_slides_as_labelled(
    name: str, reports: dict[str, Report]
) -> None:
    """With a clear margin; a probability of exactly 0 or 1 would be no calibrated one."""
    heads = {head.head: head for head in reports[name].heads}
    assert set(heads) == set(LABELS[name])
    for label, expected in LABELS[name].items():
        head = heads[label]
        assert isinstance(head, Scored)
        assert head.label == expected
        sure = head.probability if expected == head.positive else 1 - head.probability
        assert 0.8 < sure < 0.9999


@pytest.mark.slow
def test_bundle_card_and_every_report_say_synthetic(
    demo_bundle: Bundle, reports: dict[str, Report]
) -> None:
    assert demo_bundle.file.notice.lower().startswith(WARNING)
    assert demo_bundle.card().splitlines()[0].lower().startswith(f"# {WARNING}")
    assert all(report.notice == demo_bundle.file.notice for report in reports.values())


def test_the_shipped_bundle_holds_the_rules_that_serving_is_tested_with(
    demo_bundle: Bundle,
) -> None:
    features = demo_bundle.contract.features
    encoder = features.encoder.model_dump(mode="json")
    assert features == making.feature_contract(encoder=encoder)


def test_the_card_tells_the_figures_of_the_bundle(demo_bundle: Bundle) -> None:
    card, provenance = demo_bundle.card(), demo_bundle.file.provenance
    for head in demo_bundle.contract.heads:
        auc = provenance["test"][head.name]["auc"]
        assert f"| AUROC | {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f}) |" in card
        assert head.sha256 in card
    assert demo_bundle.contract.digest in card
    assert provenance["command"] in card


def test_the_shipped_files_are_small(demo_bundle: Bundle) -> None:
    """They live in the repository: 5 MB for the encoder, 3 MB a head, 1.5 MB a slide."""
    assert demo_bundle.encoder_path.stat().st_size < 5.5e6
    heads = demo_bundle.contract.heads
    assert all(demo_bundle.head_path(head).stat().st_size < 3e6 for head in heads)
    assert all(path.stat().st_size <= 1.5e6 for path in demo_slides())


@pytest.mark.slow
def test_shipped_features_do_not_depend_on_the_batch(
    demo_bundle: Bundle, demo_backend: OnnxBackend, reader: Reader
) -> None:
    """Bit for bit, at sizes 1 to 4 and in any company: reports are equal byte for byte."""
    events = reader.read(demo_slides()[0], demo_bundle.contract.features)
    batches = [event.pixels.copy() for event in events if isinstance(event, TileBatch)]
    tiles = np.concatenate(batches)[:12]  # (12, 224, 224, 3)
    alone = np.concatenate([demo_backend.encode(tile[None]) for tile in tiles])  # (12, D)
    assert len(np.unique(alone, axis=0)) == len(tiles) == 12
    for size in (2, 3, 4):
        for order in (np.arange(12), np.random.default_rng(size).permutation(12)):
            parts = [demo_backend.encode(tiles[some]) for some in np.split(order, 12 // size)]
            assert np.array_equal(np.concatenate(parts), alone[order])
