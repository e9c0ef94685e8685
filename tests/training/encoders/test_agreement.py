"""Bounds of an export: what passes, what is refused, and in which words."""

import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.agreement import Agreement


def measured(difference: float, cosine_fp16: float) -> Agreement:
    return Agreement(64, (1, 3, 64), difference, largest=5.0, cosine_fp16=cosine_fp16)


def test_what_is_within_both_bounds_passes() -> None:
    measured(9.9e-5, 0.9991).demand(fp16=True)


@pytest.mark.parametrize("difference", [1e-4, 0.2, float("nan")])
def test_another_fp32_is_refused(difference: float) -> None:
    with pytest.raises(RequestInvalid, match="differ from torch's by up to"):
        measured(difference, 1.0).demand(fp16=False)


@pytest.mark.parametrize("cosine", [0.999, 0.0, float("nan")])
def test_another_fp16_is_refused_unless_it_is_not_asked_for(cosine: float) -> None:
    with pytest.raises(RequestInvalid, match=r"cosine of only .*; the bound is 0.999"):
        measured(1e-6, cosine).demand(fp16=True)
    measured(1e-6, cosine).demand(fp16=False)
