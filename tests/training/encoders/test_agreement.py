"""Bounds of an export: what passes, what is refused, and in which words."""

import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.agreement import Agreement


def measured(difference: float, cosine_fp16: float, largest: float = 0.7) -> Agreement:
    return Agreement(64, (1, 3, 64), difference, largest=largest, cosine_fp16=cosine_fp16)


def test_what_is_within_both_bounds_passes() -> None:
    measured(9.9e-5, 0.9991).demand(fp16=True)


@pytest.mark.parametrize("difference", [1e-4, 0.2, float("nan")])
def test_another_fp32_is_refused(difference: float) -> None:
    with pytest.raises(RequestInvalid, match="differ from torch's by up to"):
        measured(difference, 1.0).demand(fp16=False)


def test_the_bound_is_a_share_of_features_above_one() -> None:
    """fp32 rounds in proportion: of features of 10, as of random weights, 1.5e-4 is nothing."""
    measured(1.5e-4, 1.0, largest=10.3).demand(fp16=True)
    measured(1.02e-3, 1.0, largest=10.3).demand(fp16=True)
    with pytest.raises(RequestInvalid, match=r"up to 10.3; the bound is 0.00103") as other:
        measured(1.04e-3, 1.0, largest=10.3).demand(fp16=True)
    assert "norms" not in other.value.hint
    with pytest.raises(RequestInvalid, match=r"up to 5e\+03; the bound is 0.5") as thousands:
        measured(0.6, 1.0, largest=5000.0).demand(fp16=True)
    assert "unsettled norms" in thousands.value.hint


@pytest.mark.parametrize("largest", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_refused(largest: float) -> None:
    """infinity is not less than its own share."""
    for difference in (float("nan"), float("inf")):
        with pytest.raises(RequestInvalid, match="differ from torch's"):
            measured(difference, 1.0, largest=largest).demand(fp16=False)


@pytest.mark.parametrize("cosine", [0.999, 0.0, float("nan")])
def test_another_fp16_is_refused_unless_it_is_not_asked_for(cosine: float) -> None:
    with pytest.raises(RequestInvalid, match=r"cosine of only .*; the bound is 0.999"):
        measured(1e-6, cosine).demand(fp16=True)
    measured(1e-6, cosine).demand(fp16=False)
