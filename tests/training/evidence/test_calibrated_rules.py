"""Operating points are of calibrated probabilities: on those they do what their basis says."""

import re

import numpy as np
import pytest

from deepsmile_training.evidence.calibrate import apply
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.evidence.predictions import ValidationPredictions
from tests.training.evidence.cases import drawn, validation

ACHIEVED = re.compile(r"\(sensitivity (\d\.\d{3}), specificity (\d\.\d{3}) there\)")


def off_scale(power: float) -> ValidationPredictions:
    """Probabilities that rank well and are far too high, or too low, by a power of their odds."""
    p, y = drawn(300, seed=1)
    odds = (p / (1 - p)) ** 0.3  # (n,)
    shifted = odds * 10**power  # (n,)
    return validation(shifted / (1 + shifted), y)


@pytest.mark.parametrize("power", [-2.0, 2.0])
def test_each_point_does_on_calibrated_probabilities_what_its_basis_prints(power: float) -> None:
    """Patient by patient; on the raw ones the same thresholds do something else."""
    raw = off_scale(power)
    choice = make_choice(raw)
    calibrated = apply(choice.calibration, raw.p)  # (n,)
    assert np.abs(calibrated - raw.p).mean() > 0.2
    for point in choice.points:
        told = ACHIEVED.search(point.basis)
        assert told is not None
        found = counted(calibrated, raw.y, point.threshold)
        assert [float(share) for share in told.groups()] == pytest.approx(found, abs=5e-4)
        assert counted(raw.p, raw.y, point.threshold) != pytest.approx(found, abs=0.05)


def counted(p: np.ndarray, y: np.ndarray, threshold: float) -> list[float]:
    """Sensitivity and specificity, by counting."""
    hits = [one >= threshold for one, truth in zip(p, y, strict=True) if truth == 1]
    passes = [one < threshold for one, truth in zip(p, y, strict=True) if truth == 0]
    return [sum(hits) / len(hits), sum(passes) / len(passes)]
