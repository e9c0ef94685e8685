"""Calibration methods: each recovers its own curve, and validation chooses among them."""

import numpy as np
import pytest
from scipy.optimize import minimize

from deepsmile.calibration import Beta, Isotonic, Temperature
from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.calibrate import (
    FITTERS,
    apply,
    choose_calibration,
    cross_fitted,
    fit_beta,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from deepsmile_training.evidence.folds import stratified_folds
from deepsmile_training.evidence.logistic import smoothed_targets
from deepsmile_training.evidence.predictions import ValidationPredictions
from deepsmile_training.metrics import auc, ece, log_loss
from tests.training.evidence.cases import drawn_validation, validation

pytestmark = pytest.mark.slow


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def labelled(truth: np.ndarray, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(truth)) < truth).astype(np.int64)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    logit = np.random.default_rng(0).normal(0, 3, 40_000)
    found = fit_temperature(validation(sigmoid(logit), labelled(sigmoid(logit / temperature), 1)))
    assert found.temperature == pytest.approx(temperature, rel=0.05)


def test_known_beta_parameters_are_recovered() -> None:
    """Kull et al. 2017, eq. of the beta map."""
    p = sigmoid(np.random.default_rng(0).normal(0, 2.5, 60_000))
    truth = sigmoid(1.8 * np.log(p) - 0.6 * np.log1p(-p) + 0.4)
    found = fit_beta(validation(p, labelled(truth, 1)))
    assert (found.a, found.b, found.c) == (
        pytest.approx(1.8, abs=0.1),
        pytest.approx(0.6, abs=0.1),
        pytest.approx(0.4, abs=0.1),
    )


def test_the_beta_fit_is_the_least_cross_entropy_of_a_bounded_search() -> None:
    """By a general optimiser, where one weight would be negative without the bound."""
    p = np.random.default_rng(0).uniform(0.02, 0.98, 500)
    y = labelled(sigmoid(1.5 * np.log(p) + 0.7 * np.log1p(-p) + 1), 1)
    target = smoothed_targets(y)

    def loss(theta: np.ndarray) -> float:
        margin = theta[0] * np.log(p) - theta[1] * np.log1p(-p) + theta[2]
        return float((np.logaddexp(0, margin) - target * margin).sum())

    best = minimize(loss, np.ones(3), bounds=[(0, None), (0, None), (None, None)])
    found = fit_beta(validation(p, y))
    assert found.b == 0
    np.testing.assert_allclose([found.a, found.b, found.c], best.x, atol=1e-3)


def test_isotonic_pools_adjacent_violators_and_keeps_ties_together() -> None:
    """By hand: .1 -> 0; the tie at .3 has the labels 1, 0; .5 -> 0 violates: (1 + 0 + 0) / 3.

    Of 2 positives and 3 negatives, Platt's targets are 3/4 for a 1 and 1/5 for a 0.
    """
    p, y = np.array([0.1, 0.3, 0.3, 0.5, 0.9]), np.array([0, 1, 0, 0, 1])
    found = fit_isotonic(validation(p, y))
    calibrated = apply(found, p)
    pooled = (3 / 4 + 1 / 5 + 1 / 5) / 3
    np.testing.assert_allclose(calibrated, [1 / 5, pooled, pooled, pooled, 3 / 4])
    assert found.apply(0.0) == pytest.approx(1 / 5)
    assert found.apply(0.7) == pytest.approx((pooled + 3 / 4) / 2)


@pytest.mark.parametrize("name", FITTERS)
def test_no_answer_is_certain_after_perfectly_separated_validation(name: str) -> None:
    """20 and 40 patients make nobody sure, wherever the next one's probability lies."""
    p = np.append(np.linspace(0.1, 0.4, 40), np.linspace(0.6, 0.9, 20))
    found = apply(FITTERS[name](validation(p, np.repeat([0, 1], [40, 20]))), p)
    assert 0 < found.min() < 0.5 < found.max() < 1
    if name == "isotonic":
        np.testing.assert_allclose(np.unique(found), [1 / 42, 21 / 22])


def normal_scores(rng: np.random.Generator, n: int) -> ValidationPredictions:
    """3 in 10 positive, 4 deviations above the others."""
    y = rng.permutation(np.repeat([1, 0], [3 * n // 10, n - 3 * n // 10]))
    return validation(sigmoid(rng.normal(0, 1, n) + 4 * (y - 0.5)), y)


@pytest.mark.parametrize("patients", [60, 100])
def test_the_chosen_calibration_holds_up_on_further_patients(patients: int) -> None:
    """Where validation separates well, what wins there is hardly worse than Platt's elsewhere."""
    rng, chosen, platt = np.random.default_rng(0), [], []
    for _ in range(25):
        v, further = normal_scores(rng, patients), normal_scores(rng, 1000)
        calibration = choose_calibration(v, seed=0).calibration
        for losses, each in ((chosen, calibration), (platt, fit_platt(v))):
            losses.append(log_loss(apply(each, further.p), further.y))
    assert np.mean(chosen) < np.mean(platt) + 0.02


@pytest.mark.parametrize("name", FITTERS)
def test_no_method_turns_the_ranking_around(name: str) -> None:
    """Scores that rank backwards are flattened, never flipped."""
    v = drawn_validation()
    backwards = v.with_probabilities(1 - v.p)
    calibrated = apply(FITTERS[name](backwards), backwards.p)
    order = np.argsort(backwards.p)
    assert (np.diff(calibrated[order]) >= -1e-12).all()
    assert auc(calibrated, v.y) <= 0.51


@pytest.mark.parametrize("name", ["temperature", "platt", "beta"])
def test_a_smooth_method_leaves_the_ranking_as_it_is(name: str) -> None:
    v = drawn_validation()
    assert auc(apply(FITTERS[name](v), v.p), v.y) == auc(v.p, v.y)


CURVES = {
    "temperature": lambda logit: sigmoid(logit / 3),
    "platt": lambda logit: sigmoid(0.5 * logit - 1.5),
    "beta": lambda logit: sigmoid(
        2.5 * np.log(sigmoid(logit)) - 0.05 * np.log(sigmoid(-logit)) + 1
    ),
    "isotonic": lambda logit: np.where(logit < -1, 0.05, np.where(logit < 2, 0.45, 0.6)),
}


@pytest.mark.parametrize("name", CURVES)
def test_the_method_that_made_the_labels_is_chosen(name: str) -> None:
    logit = np.random.default_rng(3).normal(0, 2, 20_000)
    v = validation(sigmoid(logit), labelled(CURVES[name](logit), 4))
    chosen = choose_calibration(v, seed=0)
    assert chosen.calibration.method == name
    assert set(chosen.log_losses) == {"none", *FITTERS}
    assert chosen.log_losses["none"] == log_loss(v.p, v.y)


def test_a_tie_goes_to_the_simplest() -> None:
    """Well-calibrated scores: all smooth methods are as good, to four decimals."""
    logit = np.random.default_rng(0).normal(0, 2, 20_000)
    v = validation(sigmoid(logit), labelled(sigmoid(logit), 1))
    chosen = choose_calibration(v, seed=0)
    assert isinstance(chosen.calibration, Temperature)
    assert chosen.calibration.temperature == pytest.approx(1, abs=0.05)


def test_cross_fitting_never_shows_a_patient_its_own_label() -> None:
    """With labels flipped inside one fold, that fold's calibrated values stay as they were."""
    v = drawn_validation()
    _, inside = stratified_folds(v.y, 0)[2]
    before = cross_fitted(v, fit_platt, seed=0)
    for outside, rows in stratified_folds(v.y, 0):
        expected = apply(fit_platt(v.taken(outside)), v.p[rows])
        np.testing.assert_array_equal(before[rows], expected)
    assert len(np.unique(np.concatenate([rows for _, rows in stratified_folds(v.y, 0)]))) == 300
    in_sample = apply(fit_platt(v), v.p)
    assert (before[inside] != in_sample[inside]).any()


def test_calibration_mends_overconfident_scores() -> None:
    v = drawn_validation(600)
    calibrated = cross_fitted(v, fit_platt, seed=0)
    assert ece(v.p, v.y) > 0.1
    assert ece(calibrated, v.y) < 0.06


def test_every_fold_has_both_classes_or_there_are_no_folds() -> None:
    y = np.array([1] * 5 + [0] * 30)
    assert all(y[inside].sum() == 1 for _, inside in stratified_folds(y, 0))
    with pytest.raises(RequestInvalid, match="one has 4: a fold would be without it"):
        stratified_folds(np.array([1] * 4 + [0] * 30), 0)


@pytest.mark.parametrize("name", FITTERS)
def test_constant_scores_become_one_constant(name: str) -> None:
    """Temperature keeps 0.5; the others give the prevalence, 0.25."""
    v = ValidationPredictions.numbered(np.full(400, 0.5), np.repeat([0, 0, 0, 1], 100))
    found = apply(FITTERS[name](v), v.p)
    assert found == pytest.approx(0.5 if name == "temperature" else 0.25, abs=0.01)


def test_fitted_calibrations_are_the_ones_that_are_served() -> None:
    v = drawn_validation()
    assert isinstance(fit_beta(v), Beta)
    assert isinstance(fit_isotonic(v), Isotonic)
