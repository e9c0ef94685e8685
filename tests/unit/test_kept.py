"""Kept features: found again bit for bit, only for the same slide and rules, within their bound."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.digest import digest_of_slide
from deepsmile.errors import SlideNotFound
from deepsmile.kept import BAG, FACTS, KeptFeatures
from deepsmile.pipeline import Extraction, SlideSource, extract
from deepsmile.reading import Reader
from deepsmile.report import differences
from deepsmile.scorer import BundleScorer, Work
from deepsmile.settings import Settings
from deepsmile.stages import no_progress
from tests.making import make_bundle

ENCODER = "onnxruntime 1 CPU"
ROOM = 1 << 30


@pytest.fixture(scope="module")
def source(slide_path: Path) -> SlideSource:
    return SlideSource(slide_path, digest_of_slide(slide_path))


@pytest.fixture(scope="module")
def extraction(
    source: SlideSource, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> Extraction:
    return extract(source, bundle.contract.features, backend, reader)


def test_what_was_kept_is_found_bit_for_bit(
    tmp_path: Path, source: SlideSource, extraction: Extraction, bundle: Bundle
) -> None:
    kept = KeptFeatures(tmp_path / "features", ROOM, 0)
    kept.keep(source, extraction, ENCODER)
    found = kept.find(source, bundle.contract.features, ENCODER)
    assert found is not None
    assert found.bag is not None
    assert extraction.bag is not None
    assert found.bag.features.tobytes() == extraction.bag.features.tobytes()
    assert np.array_equal(found.bag.cells, extraction.bag.cells)
    assert (found.slide, found.plan, found.count) == (
        extraction.slide,
        extraction.plan,
        extraction.count,
    )
    assert found.sha256 == source.sha256


def test_another_slide_mpp_contract_runtime_or_version_finds_nothing(
    tmp_path: Path, source: SlideSource, extraction: Extraction, bundle: Bundle
) -> None:
    kept, rules = KeptFeatures(tmp_path, ROOM, 0), bundle.contract.features
    kept.keep(source, extraction, ENCODER)
    other_rules = rules.model_copy(
        update={"budget": rules.budget.model_copy(update={"max_tiles": 3})}
    )
    assert kept.find(replace(source, sha256="0" * 64), rules, ENCODER) is None
    assert kept.find(replace(source, mpp=0.4), rules, ENCODER) is None
    assert kept.find(source, other_rules, ENCODER) is None
    assert kept.find(source, rules, "onnxruntime 2 CPU") is None
    assert replace(kept, version="0.0.0").find(source, rules, ENCODER) is None
    assert kept.find(source, rules, ENCODER) is not None


@pytest.mark.parametrize("suffix", [BAG, FACTS])
def test_a_damaged_file_is_dropped_and_the_slide_read_again(
    tmp_path: Path, suffix: str, source: SlideSource, extraction: Extraction, bundle: Bundle
) -> None:
    kept = KeptFeatures(tmp_path, ROOM, 0)
    kept.keep(source, extraction, ENCODER)
    (damaged,) = tmp_path.glob(f"*{suffix}")
    damaged.write_bytes(damaged.read_bytes()[:-40])
    assert kept.find(source, bundle.contract.features, ENCODER) is None
    assert list(tmp_path.iterdir()) == []


def test_the_longest_unused_go_first(
    tmp_path: Path, source: SlideSource, extraction: Extraction, bundle: Bundle
) -> None:
    roomy, rules = KeptFeatures(tmp_path, ROOM, 0), bundle.contract.features
    for name in ("a", "b"):
        roomy.keep(source, extraction, name)
    for path in tmp_path.glob(f"*{BAG}"):
        size = path.stat().st_size
        os.utime(path, (1, 1))
    assert roomy.find(source, rules, "a") is not None  # used last, now
    KeptFeatures(tmp_path, 2 * size, 0).keep(source, extraction, "c")
    assert roomy.find(source, rules, "b") is None
    assert roomy.find(source, rules, "a") is not None
    assert roomy.find(source, rules, "c") is not None


def test_nothing_is_kept_without_room(
    tmp_path: Path, source: SlideSource, extraction: Extraction
) -> None:
    KeptFeatures(tmp_path / "features", 0, 0).keep(source, extraction, ENCODER)
    assert not (tmp_path / "features").exists()


def test_a_full_disk_keeps_nothing_and_stops_nobody(
    tmp_path: Path, source: SlideSource, extraction: Extraction, bundle: Bundle
) -> None:
    """The slide was read and encoded; to fail its job over a file that saves time would lose it."""
    full = KeptFeatures(tmp_path, ROOM, reserve_bytes=1 << 60)
    full.keep(source, extraction, ENCODER)
    assert full.find(source, bundle.contract.features, ENCODER) is None
    assert list(tmp_path.iterdir()) == []


def test_another_head_on_a_known_slide_reads_no_pixel(tmp_path: Path, slide_path: Path) -> None:
    """The slide is gone by then; a fresh request wants to read it, and cannot."""
    repository, slide = tmp_path / "models", tmp_path / "slide.svs"
    first = make_bundle(repository, "first")
    second = make_bundle(repository, "second", members=3)
    slide.write_bytes(slide_path.read_bytes())
    source = SlideSource(slide, digest_of_slide(slide))
    scorer = BundleScorer(Settings(data_dir=tmp_path / "data", model_repository=repository))
    read = scorer(Work("1", source, first.name, first.digest), no_progress)
    slide.unlink()
    again = scorer(Work("2", source, first.name, first.digest), no_progress)
    assert differences(read, again) == []
    other = scorer(Work("3", source, second.name, second.digest), no_progress)
    assert other.tiles == read.tiles
    assert other.bundle.features_digest == read.bundle.features_digest
    with pytest.raises(SlideNotFound):
        scorer(Work("4", source, first.name, first.digest, fresh=True), no_progress)
