"""Published predictions: HistoBistro's external test of MSI in colorectal cancer, 583 patients."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from deepsmile_training.evidence.calibrate import apply
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.evidence.evaluated import cross_evaluated
from deepsmile_training.evidence.predictions import ValidationPredictions
from deepsmile_training.metrics import auc, auprc, ece

TABLE = Path(__file__).parents[3] / "../shared/data/preds/histobistro/evaluations_user_study.xlsx"

pytestmark = pytest.mark.skipif(
    not TABLE.is_file(), reason="../shared/data is not in a clone of the project"
)


@pytest.fixture(scope="module")
def published() -> ValidationPredictions:
    sheet = pd.read_excel(TABLE, sheet_name="model_predictions")
    patients = tuple(str(patient) for patient in sheet["patient"])
    y = sheet["ground_truth"].to_numpy(np.int64)
    return ValidationPredictions(patients, y, expit(sheet["logits"].to_numpy(np.float64)))


def test_the_published_figures_come_back(published: ValidationPredictions) -> None:
    p, y = published.p, published.y
    assert auc(p, y) == pytest.approx(0.968, abs=5e-4)
    assert auprc(p, y) == pytest.approx(0.834, abs=5e-4)
    assert p.mean() == pytest.approx(0.266, abs=5e-4)
    assert y.mean() == pytest.approx(0.141, abs=5e-4)
    assert ece(p, y) == pytest.approx(0.125, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_cross_fitted_calibration_mends_the_scale(
    published: ValidationPredictions, seed: int
) -> None:
    found = cross_evaluated(published, seed=seed)
    assert ece(found.calibrated, published.y) <= 0.03
    assert found.calibrated.mean() == pytest.approx(published.y.mean(), abs=0.005)


def test_calibration_leaves_the_ranking_unchanged(published: ValidationPredictions) -> None:
    """By the calibration that would be shipped, and within every fold of cross-fitting."""
    shipped = apply(make_choice(published).calibration, published.p)
    assert auc(shipped, published.y) == auc(published.p, published.y)
    found = cross_evaluated(published)
    assert found.auc_within_blocks(found.calibrated) == found.auc_within_blocks(published.p)
