"""The whole command on a drawn cohort: what it seals is what it trained, tested and told."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from deepsmile.api.app import create_app
from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bag import load_bag
from deepsmile.bundle import load_bundle, load_superseded
from deepsmile.digest import digest_of_file
from deepsmile.pipeline import score_bag
from deepsmile.settings import Settings
from deepsmile_training.bundling.development import development_of
from deepsmile_training.bundling.members import predict_held_out, probability, train_members
from deepsmile_training.bundling.plan import Plan
from deepsmile_training.bundling.source import Source
from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.untouched import hashed_slide
from deepsmile_training.encoders.encoder_file import RepositoryEncoder, write_encoder
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from tests.api.conftest import converse
from tests.shell import OK, Run
from tests.training.bundling.conftest import Made, call

pytestmark = pytest.mark.slow


def test_the_bundle_is_whole_and_its_heads_share_the_encoder(made: Made) -> None:
    assert sorted(made.bundle.file.files) == [
        "crc-msi.card.md",
        "crc-msi_mhrd/1/model.onnx",
        "crc-msi_mhrd/1/novelty.npz",
        "crc-msi_msi/1/model.onnx",
        "crc-msi_msi/1/novelty.npz",
        "tiny_encoder/1/model.onnx",
    ]
    heads = {head.name: head for head in made.bundle.contract.heads}
    assert (heads["msi"].negative, heads["msi"].positive) == ("mss", "msi")
    assert (heads["mhrd"].negative, heads["mhrd"].positive) == ("low", "high")
    assert all(head.members == 3 and head.min_tiles == 8 for head in heads.values())
    assert all(len(head.operating_points) == 3 for head in heads.values())
    assert made.bundle.digest in made.output
    configs = sorted(path.parent.name for path in made.bundle.root.glob("*/config.pbtxt"))
    assert configs == ["crc-msi_mhrd", "crc-msi_msi", "tiny_encoder"]


def test_serving_gives_what_training_predicts(made: Made, source: Source, plan: Plan) -> None:
    """Trained once more, in torch: raw within 1e-5, calibrated by the same numbers."""
    head = made.bundle.contract.heads[0]
    development = development_of(source, "MSI")
    members = train_members(source, development, plan.config, lambda: None)
    held_out = predict_held_out(source, development, members, plan.min_tiles)
    choice = make_choice(held_out.validation, seed=plan.config.seed)
    assert choice.calibration == head.calibration
    assert choice.points == head.operating_points
    backend = OnnxBackend(made.bundle, threads=1)
    open_head = head.model_copy(update={"novelty": None})
    for patient in source.prepared.split.folds[0].test[:5]:
        for bag in source.bags(patient):
            served = score_bag(bag, open_head, made.bundle, backend)
            raw = probability(members.served, bag.features)
            assert served.probability_raw == pytest.approx(raw, abs=1e-5)
            assert served.probability == pytest.approx(choice.calibration.apply(raw), abs=1e-4)


@pytest.mark.parametrize(("name", "label"), [("msi", "MSI"), ("mhrd", "mHRD")])
def test_figures_are_of_the_served_scores(
    made: Made, prepared: Prepared, name: str, label: str
) -> None:
    """Patient by patient with plain loops, and scikit-learn's areas."""
    head = next(one for one in made.bundle.contract.heads if one.name == name)
    backend = OnnxBackend(made.bundle, threads=1)
    open_head = head.model_copy(update={"novelty": None})
    labels = resolve_labels(prepared.cohort, prepared.split.folds[0], label)
    y, raw = [], []
    for patient in labels.patients("test"):
        scores = []
        for slide in prepared.cohort.by_name[patient].slides:
            path = made.prepared / "features/SimCLR" / f"{slide}.npz"
            if path.exists():
                bag = load_bag(path, made.bundle.contract.features.digest)
                if len(bag.features) >= 8:
                    scored = score_bag(bag, open_head, made.bundle, backend)
                    scores.append(scored.probability_raw)
        if scores:
            y.append(labels.of[patient])
            raw.append(float(np.mean(scores)))
    test = made.record["heads"][name]["test"]
    assert (test["patients"], test["positives"]) == (len(y), sum(y))
    assert test["auroc"]["value"] == pytest.approx(roc_auc_score(y, raw), abs=1e-4)
    assert test["auprc"]["value"] == pytest.approx(average_precision_score(y, raw), abs=1e-4)
    p = [head.calibration.apply(one) for one in raw]
    squares = [(a - b) ** 2 for a, b in zip(p, y, strict=True)]
    assert test["brier"]["value"] == pytest.approx(np.mean(squares), abs=1e-4)
    for point in head.operating_points:
        hits = [a >= point.threshold for a, b in zip(p, y, strict=True) if b]
        found = test["points"][point.name]["sensitivity"]["value"]
        assert found == pytest.approx(np.mean(hits), abs=1e-4)
    assert head.conformal is not None
    held = [a >= head.conformal.positive_from for a, b in zip(p, y, strict=True) if b]
    assert test["covered"][head.positive] == sum(held)


def test_the_drawn_signals_are_learnt(made: Made) -> None:
    """MSI is in a mean, HRD in a variance between tiles (section 4.2.3)."""
    for name in ("msi", "mhrd"):
        assert made.record["heads"][name]["out_of_fold_auc"] > 0.8


def test_provenance_has_what_it_takes_to_make_it_again(
    made: Made, prepared: Prepared, source: Source, plan: Plan
) -> None:
    record = made.record
    assert Plan.model_validate(record["plan"]) == plan
    assert record["cohort"]["digest"] == prepared.cohort.digest
    assert record["cohort"]["sources"] == {"clinical.tsv": "ab" * 32}
    assert record["split"]["digest"] == prepared.split.digest
    assert record["features"]["digest"] == source.known.digest
    assert record["features"]["dropped"] == {"slide_missing": 1}
    assert record["encoder"]["origin"] == {"kind": "made"}
    assert record["command"].startswith("deepsmile-train bundle PREPARED --extractor SimCLR")
    assert {"python", "torch", "onnxruntime"} <= set(record["software"])
    cuts = record["heads"]["mhrd"]["definition"]["cuts"]
    development = prepared.split.folds[0].development
    scores = [prepared.cohort.by_name[name].scores["hrd"] for name in development]
    assert cuts["upper"] == pytest.approx(np.median(scores))
    msi = record["heads"]["msi"]
    assert msi["development"]["too_small"] + msi["test"]["too_small"] == 1


def test_evidence_is_written_and_its_digest_kept(made: Made) -> None:
    for name in ("msi", "mhrd"):
        told = made.record["heads"][name]["evidence"]
        page = made.evidence / told["page"]
        assert page.read_text().startswith("<!doctype html>")
        assert digest_of_file(page.with_suffix(".json")) == told["json_sha256"]
        report = made.report(name)
        assert report["cohort"]["how"] == "sealed test set"
        assert {row["column"] for row in report["subgroups"]} == {"stage"}
        assert str(page) in made.output.replace("\n", "")


def test_the_card_says_what_a_reader_must_know(made: Made) -> None:
    card = " ".join(made.bundle.card().split())
    test = made.record["heads"]["msi"]["test"]
    area = test["auroc"]
    for text in (
        "# Research model trained on little-crc; not tested on any other cohort.",
        "Research use only.",
        "Cohort `little-crc`: 60 patients, 61 slides with features (1 slide_missing left out)",
        "clinical.tsv: `" + "ab" * 32,
        "2 patients without a slide",
        "high (positive) where hrd >",
        "the quantile 0.5 of 46 development patients",
        f"| AUROC | {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f}) |",
        f"| ECE (10 bins), calibrated | {test['ece']:.3f} |",
        "- **Prediction sets** are to hold the true class of 90% of the patients of either class",
        "- **Novelty**: slides with a score above",
        f"Calibration: {made.bundle.contract.heads[0].calibration.method}."
        " Chosen by cross-fitted log-loss among temperature",
        " The uncalibrated probabilities, for comparison: ",
        "no other model for this label had been tested on it before",
        "crc-msi.msi.evidence.html",
        made.bundle.contract.digest,
        made.bundle.contract.features.encoder.sha256,
        made.record["split"]["digest"],
        made.record["command"],
    ):
        assert text in card
    assert max(map(len, made.bundle.card().split("## Head")[0].splitlines())) < 160


def test_the_api_shows_the_card(made: Made, tmp_path: Path) -> None:
    app = create_app(
        Settings(
            data_dir=tmp_path / "data",
            model_repository=made.bundle.root,
            default_bundle="crc-msi",
            broker_url="redis://127.0.0.1:1/0",
            disk_reserve_bytes=0,
        )
    )
    answer = converse(app, lambda client: client.get("/v1/bundles/crc-msi"))
    detail: dict[str, Any] = answer.json()
    assert detail["card"] == made.bundle.card()
    assert detail["heads"] == ["msi", "mhrd"]
    assert detail["digest"] == made.bundle.digest


def test_a_slide_is_scored_with_it(
    made: Made, deepsmile: Run, slide_path: Path, tmp_path: Path
) -> None:
    """From the file to two calibrated answers, each with its prediction set and novelty."""
    code, out, _ = deepsmile(
        "score", slide_path, "--bundle", "crc-msi", "--out", tmp_path / "report.json"
    )
    assert code == OK, out
    text = (tmp_path / "report.json").read_text()
    assert made.bundle.digest in text
    assert "Research model trained on little-crc" in out
    assert '"head":"msi"' in text.replace(" ", "")
    assert '"head":"mhrd"' in text.replace(" ", "")
    assert load_bundle(made.bundle.root, "crc-msi").digest == made.bundle.digest


def test_the_same_again_gives_the_same_bytes_and_the_former_stays(
    made: Made, encoder: RepositoryEncoder, config: Path, tmp_path: Path
) -> None:
    """As version 2 with one head: its model keeps its place, and looking again is no new look."""
    out = Path(shutil.copytree(made.bundle.root, tmp_path / "repository"))
    options = ["--extractor", "SimCLR", "--label", "MSI", "--name", "crc-msi", "--version", "2"]
    options += ["--config", config, "--out", out]
    result = call(encoder, made.prepared, *options, "--novelty-rate", 0.05)
    assert result.exit_code == 0, result.output
    second = load_bundle(out, "crc-msi")
    assert second.file.version == "2"
    first_head, second_head = made.bundle.contract.heads[0], second.contract.heads[0]
    assert first_head == second_head
    assert sorted(second.file.files) == [
        "crc-msi.card.md",
        "crc-msi_msi/1/model.onnx",
        "crc-msi_msi/1/novelty.npz",
        "tiny_encoder/1/model.onnx",
    ]
    assert second.file.provenance["heads"]["msi"]["test"] == made.record["heads"]["msi"]["test"]
    assert load_superseded(out, "crc-msi", made.bundle.digest).contract == made.bundle.contract
    assert (out / "crc-msi.msi.evidence.html").exists()


def test_the_card_has_the_command_with_all_that_was_promised(made: Made) -> None:
    """But for places: whoever gives it again makes the same promises."""
    assert made.record["command"] == (
        "deepsmile-train bundle PREPARED --extractor SimCLR --encoder tiny --label MSI --label mHRD"
        " --name crc-msi --version 1 --threads 1 --config CONFIG --novelty-rate 0.05"
        " --slides SLIDES"
    )
    assert f"made by: `{made.record['command']}`" in made.bundle.card()


@pytest.mark.parametrize(("seen", "told"), [(0, "no test patient."), (3, "3 test patients: fig")])
def test_the_card_counts_the_test_patients_that_the_encoder_learnt_from(
    seen: int, told: str, made: Made, encoder: RepositoryEncoder, config: Path, tmp_path: Path
) -> None:
    """Algorithm 1; where the encoder's file names its slides, by hashes."""
    root = Path(shutil.copytree(encoder.root, tmp_path / "models"))
    cohort = open_prepared(made.prepared)
    fold = cohort.split.folds[0]
    names = [*fold.development, *fold.test[:seen]]
    tiles = {"slides": [hashed_slide(f"file of {name}", name) for name in names]}
    known = encoder.file.provenance | {"training": {"tiles": tiles}}
    telling = write_encoder(root, encoder.file.model_copy(update={"provenance": known}))
    options = ["--extractor", "SimCLR", "--label", "MSI", "--name", "crc", "--config", config]
    result = call(telling, made.prepared, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    bundle = load_bundle(tmp_path / "out", "crc")
    assert bundle.file.provenance["encoder"]["test_patients_seen"] == seen
    card = " ".join(bundle.card().split())
    assert f"slides that it was pre-trained on, the encoder had seen {told}" in card
    assert "not known here" not in card
    assert "not known here; compare its card" in " ".join(made.bundle.card().split())


def test_another_model_on_the_same_test_patients_is_counted_on_its_card(
    made: Made, encoder: RepositoryEncoder, config: Path, tmp_path: Path
) -> None:
    """Another seed is another model: it is tested, and readers are told it is not the first."""
    prepared = Path(shutil.copytree(made.prepared, tmp_path / "prepared"))
    other = tmp_path / "mil.yaml"
    other.write_text(config.read_text().replace("seed: 3", "seed: 4"))
    options = ["--extractor", "SimCLR", "--label", "MSI", "--name", "second", "--config", other]
    result = call(encoder, prepared, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    second = load_bundle(tmp_path / "out", "second")
    assert second.file.provenance["heads"]["msi"]["test"]["look"] == 2
    card = " ".join(second.card().split())
    assert "1 other model for this label had been tested on it before, for bundles or" in card
    report = (tmp_path / "out" / "second.msi.evidence.html").read_text()
    assert "1 other model had been tested on these patients before" in report
