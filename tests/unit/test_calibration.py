"""Calibration: every method against its formula in exact arithmetic."""

import math
from decimal import Decimal, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from deepsmile.calibration import (
    EPSILON,
    Beta,
    Calibration,
    Isotonic,
    Platt,
    Temperature,
    Uncalibrated,
    sigmoid,
)

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


@pytest.mark.parametrize("probability", [1e-6, 0.01, 0.3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("temperature", [0.25, 1, 3.5])
def test_temperature_scaling_is_platt_s_without_an_intercept(
    probability: float, temperature: float
) -> None:
    calibration = Temperature(method="temperature", temperature=temperature)
    assert calibration.apply(probability) == pytest.approx(
        exact_platt(probability, 1 / temperature, 0), rel=1e-12
    )


@pytest.mark.parametrize("probability", [1e-6, 0.01, 0.3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize(("a", "b", "c"), [(1, 1, 0), (0.5, 2, 0.3), (3, 0, -1), (0, 0, 0.2)])
def test_beta_calibration_is_its_formula(probability: float, a: float, b: float, c: float) -> None:
    """Kull et al. 2017: 1 / (1 + 1 / (exp(c) p^a / (1 - p)^b)), 50 digits."""
    p = Decimal(probability)
    odds = Decimal(c).exp() * p ** Decimal(a) / (1 - p) ** Decimal(b)
    found = Beta(method="beta", a=a, b=b, c=c).apply(probability)
    assert found == pytest.approx(float(1 / (1 + 1 / odds)), rel=1e-12)


STEPS = Isotonic(method="isotonic", x=(0.1, 0.4, 0.5, 0.9), y=(0.0, 0.25, 0.25, 1.0))


@pytest.mark.parametrize(
    ("probability", "calibrated"),
    [
        (0.0, 0.0),
        (0.1, 0.0),
        (0.25, 0.125),
        (0.4, 0.25),
        (0.45, 0.25),
        (0.5, 0.25),
        (0.7, 0.625),
        (0.9, 1.0),
        (1.0, 1.0),
    ],
)
def test_isotonic_regression_is_linear_between_knots_and_level_beyond(
    probability: float, calibrated: float
) -> None:
    assert STEPS.apply(probability) == pytest.approx(calibrated, abs=1e-15)


def test_a_single_knot_is_one_level() -> None:
    level = Isotonic(method="isotonic", x=(0.5,), y=(0.3,))
    assert [level.apply(p) for p in (0.0, 0.5, 1.0)] == [0.3, 0.3, 0.3]


@pytest.mark.parametrize(
    ("x", "y", "complaint"),
    [
        ((), (), "at least 1 item"),
        ((0.1, 0.2), (0.1,), "2 knots in x, 1 in y"),
        ((0.2, 0.2), (0.1, 0.3), "x does not increase"),
        ((0.1, 0.2), (0.3, 0.1), "y decreases"),
        ((0.1, 1.2), (0.1, 0.2), "less than or equal to 1"),
        ((0.1, 0.2), (-0.1, 0.2), "greater than or equal to 0"),
    ],
)
def test_knots_that_make_no_rising_line_are_refused(
    x: tuple[float, ...], y: tuple[float, ...], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Isotonic(method="isotonic", x=x, y=y)


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "temperature", "temperature": 0.0},
        {"method": "temperature", "temperature": -1.0},
        {"method": "beta", "a": -0.1, "b": 1.0, "c": 0.0},
        {"method": "beta", "a": 1.0, "b": -0.1, "c": 0.0},
        {"method": "temperature", "temperature": math.nan},
        {"method": "isotonic", "x": [0.1, math.nan], "y": [0.1, 0.2]},
    ],
)
def test_parameters_that_would_turn_the_order_round_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Calibration).validate_python(wrong)


RISING = (
    STEPS,
    Temperature(method="temperature", temperature=0.3),
    Beta(method="beta", a=0.2, b=5.0, c=-2.0),
)


@pytest.mark.parametrize("calibration", RISING, ids=lambda one: one.method)
@given(PROBABILITIES, PROBABILITIES)
def test_every_method_keeps_order_and_stays_between_0_and_1(
    calibration: Calibration, one: float, other: float
) -> None:
    low, high = (calibration.apply(p) for p in sorted((one, other)))
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("calibration", RISING, ids=lambda one: one.method)
def test_a_method_comes_back_from_a_bundle_s_json(calibration: Calibration) -> None:
    text = calibration.model_dump_json()
    assert TypeAdapter(Calibration).validate_json(text) == calibration


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
