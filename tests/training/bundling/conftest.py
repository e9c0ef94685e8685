"""A prepared cohort drawn with numpy around a slide's own features, and one bundle made of it."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from deepsmile.backends.onnx import OnnxEncoder
from deepsmile.bag import FeatureBag, save_bag
from deepsmile.bundle import Bundle, load_bundle
from deepsmile.contract import FeatureContract
from deepsmile.digest import digest_of_file
from deepsmile.pipeline import SlideSource, extract
from deepsmile.reading import Reader
from deepsmile_training.bundling.plan import Plan, make_plan
from deepsmile_training.bundling.source import Source, open_source
from deepsmile_training.cli.bundle import bundle as bundle_command
from deepsmile_training.cohorts.cohort import Cohort, Patient, make_cohort
from deepsmile_training.cohorts.rules import ThresholdRule
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.encoders.encoder_file import (
    EncoderFile,
    Preprocessing,
    RepositoryEncoder,
    write_encoder,
)
from deepsmile_training.mil.config import MilConfig, load_mil_config
from deepsmile_training.prepared.features import list_bags
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from tests.making import make_bundle
from tests.shell import Run, command_of

PATIENTS, FOLDS = 60, 3
CLASSES = ("mss", "msi")
CONFIG = """
head: {kind: varmil, nu: 16}
recipe: {learning_rate: 0.02, batch: 4, epochs: 12, tiles: 12}
seed: 3
"""
app = typer.Typer()
app.command()(bundle_command)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> RepositoryEncoder:
    """The tiny encoder, exported alone: D = 6, mean and mean square of each colour."""
    root = tmp_path_factory.mktemp("models")
    tiny = make_bundle(tmp_path_factory.mktemp("tiny"))
    place, card = tiny.encoder_path.relative_to(tiny.root), "tiny.encoder.card.md"
    (root / place).parent.mkdir(parents=True)
    shutil.copy(tiny.encoder_path, root / place)
    (root / card).write_text("# Tiny encoder\n")
    contract = tiny.contract.features
    grey = (0.0, 0.0, 0.0)
    done = Preprocessing(scale="0 to 1", mean=grey, deviation=(1.0, 1.0, 1.0), input_px=224)
    file = EncoderFile(
        format="deepsmile-encoder/1",
        name="tiny",
        backbone="averages",
        preprocessing=done,
        features=contract,
        model=place.as_posix(),
        card=card,
        files={path: digest_of_file(root / path) for path in (place.as_posix(), card)},
        provenance={"origin": {"kind": "made"}, "training": None},
    )
    return write_encoder(root, file)


@pytest.fixture(scope="session")
def prepared_root(
    encoder: RepositoryEncoder,
    slide_path: Path,
    reader: Reader,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """60 patients: MSI shifts the mean of a feature, HRD the spread of another between tiles.

    The first patient has two slides, the second a slide of three tiles beside, the last none.
    """
    root, contract = tmp_path_factory.mktemp("prepared"), encoder.file.features
    graph = OnnxEncoder(encoder.path, threads=1)
    slide = extract(SlideSource(slide_path), contract, graph, reader).need_bag()
    make_prepared(root, contract, slide.features.mean(axis=0))
    return root


def make_prepared(root: Path, contract: FeatureContract, centre: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    cohort = cohort_of(rng)
    cohort.write(root / "cohort.json")
    plan = SplitPlan(kind="fixed-test", folds=FOLDS, labels=("MSI",), strata=("hrd",), subsets=True)
    make_split(cohort, plan).write(root / "split.json")
    folder = root / "features" / "SimCLR"
    folder.mkdir(parents=True)
    slides = []
    for patient in cohort.patients:
        for slide in patient.slides:
            if slide == "lost":
                continue
            tiles = 3 if slide.endswith("-b") and patient.name == "p01" else 20
            save_bag(drawn_bag(rng, patient, centre, tiles, contract), folder / f"{slide}.npz")
            slides.append(slide)
    list_bags(folder, contract, slides, {"lost": "slide_missing: not in the folder"})


def cohort_of(rng: np.random.Generator) -> Cohort:
    patients = [
        Patient(
            name=f"p{i:02}",
            slides=("lost",) if i == PATIENTS - 1 else (f"p{i:02}-a", f"p{i:02}-b")[: 1 + (i < 2)],
            labels={"MSI": CLASSES[i % 2], "grade": ("g1", "g2", "g3")[i % 3]},
            scores={"hrd": round(float(rng.uniform(0, 60)), 2)},
            strata={"stage": ("early", "late")[i // 2 % 2]},
        )
        for i in range(PATIENTS)
    ]
    rule = ThresholdRule(column="hrd", classes=("low", "high"), lower=0.5, upper=0.5, strict=True)
    return make_cohort(
        "little-crc",
        patients,
        sources={"clinical.tsv": "ab" * 32},
        notes={"patients without a slide": 2},
        classes={"MSI": CLASSES, "grade": ("g1", "g2", "g3")},
        rules={"mHRD": rule},
    )


def drawn_bag(
    rng: np.random.Generator, patient: Patient, centre: np.ndarray, tiles: int, contract: Any
) -> FeatureBag:
    features = centre + rng.normal(0, 0.02, (tiles, len(centre)))  # (N, D)
    features += rng.normal(0, 0.01, len(centre))
    features[:, 0] += 0.05 if patient.labels["MSI"] == "msi" else -0.05
    features[:, 4] += rng.normal(0, 0.1 if patient.scores["hrd"] > 30 else 0.02, tiles)
    return FeatureBag(
        features=features.astype(np.float32),
        cells=np.stack([np.arange(tiles), np.zeros(tiles)], axis=1).astype(np.int32),
        origin_l0=(0.0, 0.0),
        step_l0=(512.0, 512.0),
        slide_sha256=rng.bytes(32).hex(),
        features_digest=contract.digest,
    )


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "mil.yaml"
    path.write_text(CONFIG)
    return path


def call(encoder: RepositoryEncoder, prepared: Path, *more: object) -> Result:
    """`deepsmile-train bundle`; our own errors come out as they are."""
    words = [prepared, "--encoder", "tiny", "--threads", 1, *more]
    env = {**os.environ, "DEEPSMILE_MODEL_REPOSITORY": str(encoder.root), "COLUMNS": "120"}
    return CliRunner().invoke(app, [str(word) for word in words], env=env, catch_exceptions=False)


@dataclass(frozen=True)
class Made:
    """What one run of the command left behind."""

    bundle: Bundle
    output: str
    prepared: Path
    evidence: Path

    @property
    def record(self) -> dict[str, Any]:
        return self.bundle.file.provenance

    def report(self, head: str) -> dict[str, Any]:
        """The evidence on a head."""
        found: dict[str, Any] = json.loads(
            (self.evidence / f"crc-msi.{head}.evidence.json").read_text()
        )
        return found


@pytest.fixture(scope="session")
def made(
    encoder: RepositoryEncoder,
    prepared_root: Path,
    config: Path,
    slide_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    """A bundle of two heads; of the cohort's slides one file is there, and it is another one."""
    folder = tmp_path_factory.mktemp("made")
    prepared = Path(shutil.copytree(prepared_root, folder / "prepared"))
    out, evidence = folder / "repository", folder / "evidence"
    options = ["--extractor", "SimCLR", "--label", "MSI", "--label", "mHRD", "--name", "crc-msi"]
    options += ["--config", config, "--out", out, "--evidence", evidence]
    (folder / "slides").mkdir()
    shutil.copy(slide_path, folder / "slides" / "p00-a.svs")
    options += ["--slides", folder / "slides"]
    result = call(encoder, prepared, *options, "--novelty-rate", 0.05)
    assert result.exit_code == 0, result.output
    return Made(load_bundle(out, "crc-msi"), result.output, prepared, evidence)


@pytest.fixture
def prepared(made: Made) -> Prepared:
    return open_prepared(made.prepared)


@pytest.fixture
def source(prepared: Prepared, encoder: RepositoryEncoder) -> Source:
    return open_source(prepared, "SimCLR", encoder.file.features)


@pytest.fixture(scope="session")
def mil(config: Path) -> MilConfig:
    return load_mil_config(config)


@pytest.fixture
def plan(mil: MilConfig) -> Plan:
    return make_plan(
        name="crc-msi",
        extractor="SimCLR",
        encoder="tiny",
        labels=("MSI", "mHRD"),
        config=mil,
        novelty_rate=0.05,
    )


@pytest.fixture
def deepsmile(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """The product's command, on the repository that was written."""
    monkeypatch.setenv("DEEPSMILE_MODEL_REPOSITORY", str(made.bundle.root))
    monkeypatch.setenv("DEEPSMILE_DATA_DIR", str(tmp_path / "data"))
    return command_of(monkeypatch, capsys)
