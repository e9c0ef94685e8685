"""The whole road at smoke size: one command, one sealed bundle, the same each time."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from deepsmile.backends.onnx import OnnxBackend, OnnxEncoder
from deepsmile.bag import load_bag
from deepsmile.bundle import load_bundle
from deepsmile.pipeline import SlideSource, extract, score_slide
from deepsmile.reading import Reader
from deepsmile.report import Scored
from deepsmile_training.demo.bundle import make_demo_bundle
from deepsmile_training.demo.card import render_card
from deepsmile_training.demo.plan import DemoPlan
from deepsmile_training.demo.workshop import Workshop
from deepsmile_training.extraction import extract_bags
from tests.training.conftest import SmokeRun

pytestmark = pytest.mark.slow


def test_the_bundle_holds_what_it_should(smoke: SmokeRun) -> None:
    """Two heads that share one encoder; every file digested; the notice says what it is."""
    file = smoke.bundle.file
    assert (file.name, file.notice.split(":")[0]) == ("demo", "Synthetic data, no clinical meaning")
    assert sorted(file.files) == [
        "demo.card.md",
        "demo_cellularity/1/model.onnx",
        "demo_encoder/1/model.onnx",
        "demo_heterogeneity/1/model.onnx",
    ]
    heads = {head.name: head for head in file.contract.heads}
    assert (heads["heterogeneity"].negative, heads["heterogeneity"].positive) == (
        "homogeneous",
        "heterogeneous",
    )
    assert (heads["cellularity"].negative, heads["cellularity"].positive) == (
        "paucicellular",
        "cellular",
    )
    assert all(head.members == 5 and head.min_tiles == 8 for head in heads.values())
    assert sum((smoke.bundle.root / p).stat().st_size for p in file.files) < 12e6


def test_the_card_s_first_line_says_what_it_is(smoke: SmokeRun) -> None:
    card = smoke.bundle.card()
    assert card.startswith("# Synthetic data, no clinical meaning")
    for digest in (smoke.bundle.contract.digest, smoke.bundle.contract.features.encoder.sha256):
        assert digest in card
    assert "| AUROC |" in card
    assert "Research use only" in card
    file = smoke.bundle.file
    assert render_card(file.contract, file.provenance, file.notice) == card


def test_provenance_tells_how_to_make_it_again(smoke: SmokeRun) -> None:
    provenance = smoke.bundle.file.provenance
    assert provenance["command"] == "deepsmile-train demo-bundle --smoke --seed 7 --threads 2"
    assert provenance["cohort"]["slides"] == 12
    assert provenance["cohort"]["test_slides"] == 4
    assert sum(provenance["cohort"]["fold_slides"]) == 8
    assert set(provenance["test"]) == {"heterogeneity", "cellularity"}
    assert smoke.bundle.digest in smoke.output


def test_an_interrupted_run_goes_on_where_it_stopped(smoke: SmokeRun, tmp_path: Path) -> None:
    """What is there is taken as it is, and what is gone made the same: the digest stays."""
    work = tmp_path / "work"
    shutil.copytree(smoke.work, work)
    slides = sorted(path for path in work.rglob("*") if path.suffix in {".svs", ".tif"})
    bags = sorted(work.rglob("*.npz"))
    (encoder,) = (work / "encoders").glob("*/model.onnx")
    assert (len(slides), len(bags)) == (1 + 12, 12)
    for lost in (*slides[::6], *bags[::2], encoder):
        lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (*slides, *bags) if path.exists()}
    plan = DemoPlan(seed=7).smoke()
    torch.set_num_threads(plan.threads)
    shop = Workshop(work, lambda what, total: lambda: None)
    command = smoke.bundle.file.provenance["command"]
    again = make_demo_bundle(plan, command, tmp_path / "repository", shop)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert again.file.files == smoke.bundle.file.files
    assert again.digest == smoke.bundle.digest


def test_training_eats_what_serving_cooks(smoke: SmokeRun, reader: Reader) -> None:
    """The bag that training learnt from is, bit for bit, the one that serving extracts."""
    contract = smoke.bundle.contract.features
    served = OnnxBackend(smoke.bundle, threads=1)
    slides = sorted((smoke.work / "slides").glob("*/slide-0003.*"))
    saved = next((smoke.work / "bags").glob("*/*/slide-0003.npz"))
    trained = load_bag(saved, contract.digest)
    bags = [extract(SlideSource(path), contract, served, reader).bag for path in slides]
    bag = next(b for b in bags if b and b.slide_sha256 == trained.slide_sha256)
    assert np.array_equal(bag.features, trained.features)
    assert np.array_equal(bag.cells, trained.cells)


def test_bags_are_kept_and_read_back(smoke: SmokeRun, reader: Reader, tmp_path: Path) -> None:
    """A second extraction reads no slide: the file may be gone."""
    contract = smoke.bundle.contract.features
    slide = next((smoke.work / "slides").glob("*/slide-0003.*"))
    copy = tmp_path / slide.name
    copy.write_bytes(slide.read_bytes())
    told: list[int] = []

    def bag() -> np.ndarray:
        backend = OnnxEncoder(smoke.bundle.encoder_path, threads=1)
        found = extract_bags(
            [copy], contract, backend, reader, folder=tmp_path, advance=lambda: told.append(1)
        )
        return found[0].features

    first = bag()
    copy.unlink()
    assert np.array_equal(bag(), first)
    assert told == [1, 1]


def test_a_slide_is_scored_by_both_heads(smoke: SmokeRun, reader: Reader) -> None:
    slide = next((smoke.work / "slides").glob("*/slide-0003.*"))
    backend = OnnxBackend(smoke.bundle, threads=2)
    report = score_slide(SlideSource(slide), smoke.bundle, backend, reader)
    assert [head.head for head in report.heads] == ["heterogeneity", "cellularity"]
    assert all(isinstance(head, Scored) and 0 < head.probability < 1 for head in report.heads)
    assert report.notice.startswith("Synthetic data, no clinical meaning")


def test_the_published_bundle_is_whole(smoke: SmokeRun) -> None:
    """Every byte is checked on loading, and no half-written file is left beside it."""
    assert load_bundle(smoke.bundle.root, "demo").digest == smoke.bundle.digest
    assert not list(smoke.bundle.root.rglob("*.tmp"))
