"""Calibration: Platt scaling against its formula in exact arithmetic."""

import math
from decimal import Decimal, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from deepsmile.calibration import EPSILON, Calibration, Platt, Uncalibrated, sigmoid

PROBABILITIES = st.floats(0, 1)
getcontext().prec = 50


def exact_platt(probability: float, slope: float, intercept: float) -> float:
    """1 / (1 + exp(-(slope * ln(p / (1 - p)) + intercept))), 50 digits."""
    p = Decimal(probability)
    exponent = Decimal(slope) * (p / (1 - p)).ln() + Decimal(intercept)
    return float(1 / (1 + (-exponent).exp()))


@pytest.mark.parametrize("probability", [1e-6, 0.01, 0.3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.5, 0.1), (2.5, -1), (-1, 0)])
def test_platt_scaling_is_its_formula(probability: float, slope: float, intercept: float) -> None:
    calibration = Platt(method="platt", slope=slope, intercept=intercept)
    assert calibration.apply(probability) == pytest.approx(
        exact_platt(probability, slope, intercept), rel=1e-12
    )


def test_at_a_half_only_the_intercept_speaks() -> None:
    assert Platt(method="platt", slope=3, intercept=math.log(3)).apply(0.5) == pytest.approx(0.75)


@given(PROBABILITIES)
def test_without_calibration_a_probability_stays_as_it_is(probability: float) -> None:
    assert Uncalibrated(method="none").apply(probability) == probability


@given(PROBABILITIES)
def test_slope_one_and_no_intercept_change_nothing(probability: float) -> None:
    inside = min(max(probability, EPSILON), 1 - EPSILON)
    assert Platt(method="platt", slope=1, intercept=0).apply(probability) == pytest.approx(
        inside, abs=1e-12
    )


@given(PROBABILITIES, PROBABILITIES, st.floats(0.01, 20), st.floats(-20, 20))
def test_a_higher_raw_score_never_gets_a_lower_probability(
    one: float, other: float, slope: float, intercept: float
) -> None:
    """With a positive slope calibration keeps the order, hence every AUC."""
    calibration = Platt(method="platt", slope=slope, intercept=intercept)
    low, high = sorted((one, other))
    assert calibration.apply(low) <= calibration.apply(high)


@pytest.mark.parametrize("slope", [1, 1e3, 1e6, -1e6])
@pytest.mark.parametrize("probability", [0.0, 5e-324, 0.5, 1.0])
def test_certain_raw_scores_stay_between_0_and_1(probability: float, slope: float) -> None:
    calibrated = Platt(method="platt", slope=slope, intercept=0).apply(probability)
    assert 0 <= calibrated <= 1


@given(st.floats(-1e6, 1e6))
def test_the_sigmoid_is_symmetric_and_never_overflows(x: float) -> None:
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["slope", "intercept"])
def test_parameters_that_are_no_numbers_are_refused(field: str, bad: float) -> None:
    """HOUSE STYLE 27: a NaN slope would score every slide NaN, which compares as negative."""
    with pytest.raises(ValidationError):
        Platt.model_validate({"method": "platt", "slope": 1.0, "intercept": 0.0, field: bad})


@pytest.mark.parametrize(
    "text",
    [{}, {"method": "isotonic"}, {"method": "platt", "slope": 1}, {"method": "none", "slope": 1}],
)
def test_an_unknown_or_half_written_method_is_refused(text: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Calibration).validate_python(text)
