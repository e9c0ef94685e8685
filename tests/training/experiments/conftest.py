"""A small prepared cohort: bags whose variance tells the label, tiles whose colour does."""

import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deepsmile.bag import FeatureBag, save_bag
from deepsmile.contract import Encoder
from deepsmile_training.cli.main import commands
from deepsmile_training.cohorts.cohort import Patient, make_cohort
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.encoders.checkpoint import save_checkpoint
from deepsmile_training.encoders.tile_encoder import make_encoder
from deepsmile_training.prepared.features import list_bags
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from tests.making import feature_contract

PATIENTS, FOLDS, DIM, TILES = 48, 2, 4, 30
EXTRACTORS = {"ImageNet": 0.0, "SimCLR": 1.0}
"""How much of the signal each lets through."""
LABELS = ("hrd", "tp53")


def label_of(index: int, label: str) -> int:
    return (index // 2) % 2 if label == "hrd" else index % 2


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    root = tmp_path_factory.mktemp("prepared")
    patients = [
        Patient(
            name=f"p{i:02}",
            slides=(f"s{i:02}",),
            labels={label: ("no", "yes")[label_of(i, label)] for label in LABELS},
            strata={"ward": ("north", "south")[i % 3 == 0]},
        )
        for i in range(PATIENTS)
    ]
    cohort = make_cohort("little", patients, classes=dict.fromkeys(LABELS, ("no", "yes")))
    cohort.write(root / "cohort.json")
    plan = SplitPlan(kind="fixed-test", folds=FOLDS, labels=LABELS, subsets=True)
    make_split(cohort, plan).write(root / "split.json")
    for extractor, share in EXTRACTORS.items():
        _write_features(root, extractor, share)
    _write_tiles(root)
    return open_prepared(root)


def copied(prepared: Prepared, root: Path) -> Prepared:
    """The same in another folder, by links: files may be replaced there, not written into."""
    shutil.copytree(prepared.root, root, copy_function=os.link)
    return replace(prepared, root=root)


def without_slides(prepared: Prepared, root: Path, lost: Collection[str]) -> Prepared:
    """The same in another folder, where SimCLR gave these slides no features."""
    known = prepared.feature_set("SimCLR", 0)
    left = {name: sha256 for name, sha256 in known.slides.items() if name not in lost}
    dropped = dict.fromkeys(sorted(lost), "slide_missing")
    fewer = copied(prepared, root)
    known.model_copy(update={"slides": left, "dropped": dropped}).write(
        root / "features" / "SimCLR" / "features.json"
    )
    return fewer


def _write_features(root: Path, extractor: str, share: float) -> None:
    """Feature 0 spreads where hrd is yes, feature 1 is higher where tp53 is."""
    encoder = Encoder(name=extractor.lower(), sha256="1" * 64, feature_dim=DIM)
    contract = feature_contract().model_copy(update={"encoder": encoder})
    folder = root / "features" / extractor
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(PATIENTS):
        z = rng.standard_normal((TILES, DIM)).astype(np.float32)  # (N, H)
        z[:, 0] *= 1 + 3 * share * label_of(i, "hrd")
        z[:, 1] += 2 * share * label_of(i, "tp53")
        cells = np.stack([np.arange(TILES), np.zeros(TILES)], axis=1).astype(np.int32)  # (N, 2)
        bag = FeatureBag(z, cells, (0.0, 0.0), (1.0, 1.0), f"{i:064x}", contract.digest)
        save_bag(bag, folder / f"s{i:02}.npz")
    list_bags(folder, contract, [f"s{i:02}" for i in range(PATIENTS)], {})


def _write_tiles(root: Path) -> None:
    """Two tiles per slide, redder where hrd is yes; two encoders to start from."""
    rng = np.random.default_rng(1)
    for i in range(PATIENTS):
        for tile in range(2):
            pixels = rng.integers(90, 160, (224, 224, 3), np.uint8)  # (h, w, 3) BGR
            pixels[..., 2] += np.uint8(80 * label_of(i, "hrd"))
            path = root / "images" / f"s{i:02}" / f"{tile}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), pixels)
    arguments = ["tiles", str(root / "images"), "--images", "--out", str(root / "tiles")]
    assert CliRunner().invoke(commands, arguments, catch_exceptions=False).exit_code == 0
    (root / "encoders").mkdir()
    for seed, name in enumerate(EXTRACTORS):
        encoder = make_encoder("shufflenet_v2_x0_5", seed)
        save_checkpoint(encoder, root / "encoders" / f"{name}.pt")
