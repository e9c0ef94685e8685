"""Predictions: bad input is refused, and nothing but validation is chosen on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.calibrate import (
    FITTERS,
    choose_calibration,
    cross_fitted,
    fit_platt,
)
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.evidence.evaluated import cross_evaluated
from deepsmile_training.evidence.points import choose_points
from deepsmile_training.evidence.predictions import Predictions, ValidationPredictions
from tests.training.evidence.cases import drawn_test, drawn_validation

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_what_is_no_probability_is_refused_by_its_row(bad: float) -> None:
    with pytest.raises(RequestInvalid, match=r"row 2: p is .*not a probability"):
        Predictions(("a", "b"), np.array([0, 1]), np.array([0.5, bad]))


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_class_are_refused(label: int) -> None:
    with pytest.raises(RequestInvalid, match="one class only"):
        Predictions(("a", "b"), np.array([label] * 2), np.array([0.5, 0.4]))


def test_labels_other_than_0_and_1_are_refused() -> None:
    with pytest.raises(RequestInvalid, match="other than 0 and 1"):
        Predictions(("a", "b"), np.array([1, 2]), np.array([0.5, 0.4]))


def test_a_patient_twice_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="twice"):
        Predictions(("a", "a"), np.array([0, 1]), np.array([0.5, 0.4]))


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(RequestInvalid, match="sex has 1 values for 2 patients"):
        Predictions(("a", "b"), np.array([0, 1]), np.array([0.5, 0.4]), {"sex": ("f",)})


def test_a_table_cannot_be_changed_and_its_digest_covers_all_of_it() -> None:
    table = drawn_test(60)
    with pytest.raises(ValueError, match="read-only"):
        table.p[0] = 0
    assert table.digest == drawn_test(60).digest
    others = [
        table.with_probabilities(np.roll(table.p, 1)),
        table.taken(np.arange(59)),
        Predictions(table.patients, table.y, table.p),
        Predictions(table.patients, table.y, table.p, table.subgroups, (1,) * 60),
    ]
    assert len({table.digest, *(other.digest for other in others)}) == 5


def test_taking_rows_takes_them_from_every_column() -> None:
    table = drawn_test(60)
    rows = np.array([5, 3, 8, 20, 21, 22, 23, 24, 25])
    taken = table.taken(rows)
    assert taken.patients == tuple(table.patients[i] for i in rows)
    assert taken.p.tolist() == table.p[rows].tolist()
    assert taken.subgroups["sex"] == tuple(table.subgroups["sex"][i] for i in rows)


CHOOSING = {
    "points": choose_points,
    "fit": fit_platt,
    "calibration": lambda p: choose_calibration(p, seed=0),
    "cross-fitting": lambda p: cross_fitted(p, fit_platt, seed=0),
    "choice": make_choice,
    "cross-evaluation": cross_evaluated,
    **FITTERS,
}


@pytest.mark.parametrize("name", CHOOSING)
def test_at_run_time_nothing_is_chosen_on_test_patients(name: str) -> None:
    """Issue: impossible by code, not a convention."""
    with pytest.raises(TypeError, match="on ValidationPredictions only, not on TestPredictions"):
        CHOOSING[name](drawn_test(60))  # type: ignore[operator]


@pytest.mark.parametrize("name", CHOOSING)
def test_nor_on_predictions_of_unknown_patients(name: str) -> None:
    v = drawn_validation(60)
    with pytest.raises(TypeError, match="not on Predictions"):
        CHOOSING[name](Predictions(v.patients, v.y, v.p))  # type: ignore[operator]


@pytest.mark.slow
def test_mypy_refuses_it_too(tmp_path: Path) -> None:
    """Five calls that choose, each with test predictions: five errors on their lines."""
    source = tmp_path / "cheat.py"
    source.write_text(
        "from deepsmile_training.evidence.calibrate import choose_calibration, fit_beta\n"
        "from deepsmile_training.evidence.choices import make_choice\n"
        "from deepsmile_training.evidence.evaluated import cross_evaluated\n"
        "from deepsmile_training.evidence.points import choose_points\n"
        "from deepsmile_training.evidence.predictions import TestPredictions\n"
        "def cheat(test: TestPredictions) -> None:\n"
        "    fit_beta(test)\n"
        "    choose_calibration(test, seed=0)\n"
        "    choose_points(test)\n"
        "    make_choice(test)\n"
        "    cross_evaluated(test)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(source)], cwd=ROOT, text=True, capture_output=True
    )
    for line in range(7, 12):
        assert f"cheat.py:{line}: error" in done.stdout, done.stdout + done.stderr


def test_validation_predictions_keep_their_kind() -> None:
    table = drawn_validation(60)
    assert isinstance(table.taken(np.arange(50)), ValidationPredictions)
    assert isinstance(table.with_probabilities(table.p / 2), ValidationPredictions)
