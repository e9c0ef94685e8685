"""Novelty: slides unlike the training slides are declined; the file that tells is verified."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle, load_bundle, write_bundle
from deepsmile.cli.render import show_report
from deepsmile.errors import BundleCorrupt, BundleMismatch
from deepsmile.pipeline import SlideSource, extract, score_slide
from deepsmile.reading import Reader
from tests.fake_backend import FakeBackend
from tests.making import FEATURE_DIM
from tests.reports import abstained, scored, space_of, with_novelty

PLACE = "tiny_head/1/novelty.npz"


def test_the_score_by_hand() -> None:
    """z = (0.2 / 0.1, -0.1 / 0.2); rest (0.3, 0, 0.4, 0), length 0.5; e = (0.5 - 0.1) / 0.05."""
    mean = np.array([0.7, 0.4, 0.8, 0.5, 0.9, 0.5])
    assert space_of().score_of_mean(mean) == pytest.approx((2**2 + 0.5**2 + 8**2) ** 0.5, abs=1e-6)
    tiles = np.stack([mean - 0.1, mean + 0.1]).astype(np.float32)
    assert space_of().score(tiles) == pytest.approx(8.261356, abs=1e-5)


def test_nearer_to_the_directions_than_usual_is_no_novelty() -> None:
    assert space_of().score_of_mean(np.full(FEATURE_DIM, 0.5)) == 0


def test_the_threshold_divides_slides_into_scored_and_declined(
    slide_path: Path, tmp_path: Path, bundle: Bundle, reader: Reader
) -> None:
    """At the threshold a slide is scored; the model never sees one that is declined."""
    bag = extract(SlideSource(slide_path), bundle.contract.features, FakeBackend(), reader).bag
    assert bag is not None
    score = space_of().score(bag.features)
    for name, at in (("same", score), ("less", score - 1e-6)):
        fake = FakeBackend()
        novel = with_novelty(bundle, tmp_path / name, space_of(), at)
        report = score_slide(SlideSource(slide_path), novel, fake, reader)
        assert len(fake.scored) == (name == "same")
        if name == "same":
            assert scored(report).novelty == score
            assert report.abstention is None
        else:
            reason = abstained(report).reason
            assert reason.code == "out_of_distribution"
            assert f"novelty {score:.2f}, above {at:.2f}" in reason.detail
            assert report.abstention == reason


def test_a_slide_without_a_finite_place_is_declined(
    slide_path: Path, tmp_path: Path, bundle: Bundle, reader: Reader
) -> None:
    """NaN > threshold is false, and the slide would pass."""
    broken = FakeBackend(encoder=lambda tiles: np.full((len(tiles), FEATURE_DIM), np.nan, "f4"))
    novel = with_novelty(bundle, tmp_path, space_of(), 5.0)
    report = score_slide(SlideSource(slide_path), novel, broken, reader)
    assert abstained(report).reason.code == "out_of_distribution"


def test_a_changed_byte_is_found_on_loading_and_on_scoring(
    slide_path: Path, tmp_path: Path, bundle: Bundle, reader: Reader
) -> None:
    novel = with_novelty(bundle, tmp_path, space_of(), 5.0)
    with (novel.root / PLACE).open("ab") as file:
        file.write(b" ")
    with pytest.raises(BundleCorrupt, match=r"novelty\.npz: SHA-256 is"):
        load_bundle(novel.root, "tiny")
    with pytest.raises(BundleCorrupt, match=r"novelty\.npz: SHA-256 is"):
        score_slide(SlideSource(slide_path), novel, FakeBackend(), reader)


def test_a_bundle_without_the_file_that_its_contract_names_is_corrupt(
    tmp_path: Path, bundle: Bundle
) -> None:
    novel = with_novelty(bundle, tmp_path, space_of(), 5.0)
    file = json.loads((novel.root / "tiny.bundle.json").read_text())
    del file["digest"]
    del file["files"][PLACE]
    with pytest.raises(BundleCorrupt, match="no file for"):
        write_bundle(novel.root, file)


def archive_of(folder: Path, **changes: np.ndarray) -> bytes:
    arrays = {**vars(space_of()), **changes}
    np.savez(folder / "made.npz", **arrays)
    return (folder / "made.npz").read_bytes()


def test_a_file_that_is_no_space_is_corrupt(
    slide_path: Path, tmp_path: Path, bundle: Bundle, reader: Reader
) -> None:
    spare = archive_of(tmp_path, spare=np.zeros(2))
    shape = archive_of(tmp_path, scale=np.ones(3))
    for number, content in enumerate((b"", b"junk", spare, shape)):
        novel = with_novelty(bundle, tmp_path / str(number), content, 5.0)
        with pytest.raises(BundleCorrupt, match=r"novelty\.npz"):
            score_slide(SlideSource(slide_path), novel, FakeBackend(), reader)


def test_a_space_of_other_features_does_not_fit(
    slide_path: Path, tmp_path: Path, bundle: Bundle, reader: Reader
) -> None:
    novel = with_novelty(bundle, tmp_path, space_of(FEATURE_DIM + 1), 5.0)
    with pytest.raises(BundleMismatch, match="is for 7 features"):
        score_slide(SlideSource(slide_path), novel, FakeBackend(), reader)


def test_a_person_reads_the_set_and_the_next_step(
    slide_path: Path, tmp_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    novel = with_novelty(bundle, tmp_path, space_of(), 100.0)
    file = json.loads((novel.root / "tiny.bundle.json").read_text())
    del file["digest"]
    file["contract"]["heads"][0]["conformal"] = {
        "coverage": 0.9,
        "negative_up_to": 1.0,
        "positive_from": 0.0,
        "basis": "made up",
    }
    unsure = write_bundle(novel.root, file)
    shown = Console(record=True, width=200)
    show_report(score_slide(SlideSource(slide_path), unsure, backend, reader), shown)
    text = shown.export_text()
    assert "uncertain" in text
    assert "redness: pale, red (90% coverage)" in text
    assert "Take it for no answer" in text
