"""Promises: prediction sets calibrated on strangers' predictions hold for the ensemble served."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepsmile.bag import FeatureBag, save_bag
from deepsmile.contract import FeatureContract
from deepsmile.report import DECIMALS
from deepsmile_training.bundling.development import Development, development_of
from deepsmile_training.bundling.heads import make_conformal
from deepsmile_training.bundling.members import (
    Members,
    predict_held_out,
    probability,
    train_members,
)
from deepsmile_training.bundling.source import Source, open_source
from deepsmile_training.cohorts.cohort import Patient, make_cohort
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.encoders.encoder_file import RepositoryEncoder
from deepsmile_training.evidence.calibrate import apply
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import PoolSpec, Recipe
from deepsmile_training.prepared.features import list_bags
from deepsmile_training.prepared.prepared import open_prepared

pytestmark = pytest.mark.slow

COVERAGE, DRAWS, FRESH = 0.8, 10, 60
PATIENTS, NEGATIVES, POSITIVES = 120, 60, 30
"""Drawn, and of them in development."""
DIMENSIONS, TILES = 16, 8
CLASSES = ("mss", "msi")
CONFIG = MilConfig(
    head=PoolSpec(kind="mean"),
    recipe=Recipe(learning_rate=0.05, batch=10, epochs=8, tiles=TILES),
)


def drawn_features(rng: np.random.Generator, y: int) -> np.ndarray:
    """(TILES, DIMENSIONS): one dimension tells the classes apart, the others tempt to overfit."""
    features = rng.normal(0, 1, (TILES, DIMENSIONS)) + rng.normal(0, 1, DIMENSIONS)
    features[:, 0] += 1.5 * (y - 0.5)
    return features.astype(np.float32)


def drawn_source(root: Path, contract: FeatureContract, rng: np.random.Generator) -> Source:
    """Every third patient is positive; each has a slide."""
    patients = [
        Patient(name=f"p{i:03}", slides=(f"p{i:03}",), labels={"MSI": CLASSES[i % 3 == 0]})
        for i in range(PATIENTS)
    ]
    cohort = make_cohort("drawn", patients, sources={}, notes={}, classes={"MSI": CLASSES})
    folder = root / "features" / "drawn"
    folder.mkdir(parents=True)
    cohort.write(root / "cohort.json")
    plan = SplitPlan(kind="fixed-test", folds=3, labels=("MSI",))
    make_split(cohort, plan).write(root / "split.json")
    for i, patient in enumerate(patients):
        bag = FeatureBag(
            features=drawn_features(rng, int(i % 3 == 0)),
            cells=np.stack([np.arange(TILES), np.zeros(TILES)], axis=1).astype(np.int32),
            origin_l0=(0.0, 0.0),
            step_l0=(512.0, 512.0),
            slide_sha256=rng.bytes(32).hex(),
            features_digest=contract.digest,
        )
        save_bag(bag, folder / f"{patient.name}.npz")
    list_bags(folder, contract, [patient.name for patient in patients], {})
    return open_source(open_prepared(root), "drawn", contract)


def covered(
    source: Source, development: Development, members: Members, served: np.ndarray
) -> np.ndarray:
    """Shares (2,) of fresh negatives and positives, with what was served of them, in their sets."""
    validation = predict_held_out(source, development, members, min_tiles=TILES).validation
    assert np.bincount(validation.y).tolist() == [NEGATIVES, POSITIVES]
    calibration = make_choice(validation).calibration
    calibrated = validation.with_probabilities(apply(calibration, validation.p))
    rule = make_conformal(calibrated, COVERAGE, [])
    assert rule is not None
    p = apply(calibration, served).round(DECIMALS)  # (2 FRESH,)
    return np.array(
        [(p[:FRESH] <= rule.negative_up_to).mean(), (p[FRESH:] >= rule.positive_from).mean()]
    )


def test_sets_by_out_of_fold_predictions_cover_what_the_ensemble_is_asked(
    encoder: RepositoryEncoder, tmp_path: Path
) -> None:
    """Split-conformal's ceil((n + 1) c) / (n + 1), within 3 standard errors, in either class.

    The coverage of one cohort is a Beta(k, n + 1 - k) variable, counted on FRESH slides. Had the
    patients been predicted by members that knew them, sets would fall short by more than that.
    """
    tiny = encoder.file.features
    wide = tiny.encoder.model_copy(update={"feature_dim": DIMENSIONS})
    contract = tiny.model_copy(update={"encoder": wide})
    rng, found, known = np.random.default_rng(0), [], []
    for draw in range(DRAWS):
        source = drawn_source(tmp_path / str(draw), contract, rng)
        development = development_of(source, "MSI")
        members = train_members(source, development, CONFIG, lambda: None)
        fresh = [drawn_features(rng, y) for y in (0, 1) for _ in range(FRESH)]
        served = np.array([probability(members.served, features) for features in fresh])
        found.append(covered(source, development, members, served))
        insiders = replace(members, judges=(members.served,) * 3)
        known.append(covered(source, development, insiders, served))
    n = np.array([NEGATIVES, POSITIVES])  # (2,)
    promised = np.ceil((n + 1) * COVERAGE - 1e-9) / (n + 1)  # (2,)
    variance = promised * (1 - promised) * (1 / (n + 2) + 1 / FRESH)  # (2,)
    reach = 3 * np.sqrt(variance / DRAWS)  # (2,)
    assert (np.abs(np.mean(found, axis=0) - promised) < reach).all(), np.mean(found, axis=0)
    assert np.mean(known) < (promised - reach).mean(), np.mean(known, axis=0)
