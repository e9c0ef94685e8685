"""Calibration: from a head's raw probability to one that can be read as a frequency."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# A raw probability is kept this far from 0 and 1, so that its logit stays finite.
EPSILON = 1e-7


class Uncalibrated(BaseModel):
    """The raw probability as it is; says so in the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    method: Literal["none"]

    def apply(self, probability: float) -> float:
        return probability


class Platt(BaseModel):
    """Platt scaling: sigmoid(slope * logit(p) + intercept), fitted on held-out slides.

    With intercept 0 it is temperature scaling (temperature = 1 / slope).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    method: Literal["platt"]
    slope: float
    intercept: float

    def apply(self, probability: float) -> float:
        p = min(max(probability, EPSILON), 1 - EPSILON)
        logit = math.log(p) - math.log1p(-p)
        return sigmoid(self.slope * logit + self.intercept)


Calibration = Annotated[Uncalibrated | Platt, Field(discriminator="method")]


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow at either end."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))
