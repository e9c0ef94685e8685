"""Calibration: from a head's raw probability to one that can be read as a frequency."""

import math
from bisect import bisect_right
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deepsmile.frozen import Frozen, Share

EPSILON = 1e-7
"""A raw probability is kept this far from 0 and 1, so that its logit stays finite."""


class Uncalibrated(Frozen):
    """The raw probability as it is; says so in the report."""

    method: Literal["none"]

    def apply(self, probability: float) -> float:
        return probability


class Platt(Frozen):
    """Platt scaling: sigmoid(slope * logit(p) + intercept), fitted on held-out slides."""

    method: Literal["platt"]
    slope: float
    intercept: float

    def apply(self, probability: float) -> float:
        log_p, log_rest = _logs(probability)
        return sigmoid(self.slope * (log_p - log_rest) + self.intercept)


class Temperature(Frozen):
    """Temperature scaling (Guo et al. 2017): sigmoid(logit(p) / temperature)."""

    method: Literal["temperature"]
    temperature: Annotated[float, Field(gt=0)]
    """Above 1 softens, below 1 sharpens."""

    def apply(self, probability: float) -> float:
        log_p, log_rest = _logs(probability)
        return sigmoid((log_p - log_rest) / self.temperature)


class Beta(Frozen):
    """Beta calibration (Kull et al. 2017): sigmoid(a ln p - b ln(1 - p) + c).

    With a = b it is Platt scaling.
    """

    method: Literal["beta"]
    a: Annotated[float, Field(ge=0)]
    b: Annotated[float, Field(ge=0)]
    c: float

    def apply(self, probability: float) -> float:
        log_p, log_rest = _logs(probability)
        return sigmoid(self.a * log_p - self.b * log_rest + self.c)


class Isotonic(Frozen):
    """Isotonic regression (Zadrozny and Elkan 2002): linear between knots, level beyond them."""

    method: Literal["isotonic"]
    x: Annotated[tuple[Share, ...], Field(min_length=1)]
    """Raw probabilities of the knots, increasing."""
    y: Annotated[tuple[Share, ...], Field(min_length=1)]
    """Calibrated probabilities of the knots, never decreasing."""

    @model_validator(mode="after")
    def _is_a_rising_line(self) -> Self:
        if len(self.x) != len(self.y):
            raise ValueError(f"isotonic: {len(self.x)} knots in x, {len(self.y)} in y")
        if any(left >= right for left, right in pairwise(self.x)):
            raise ValueError("isotonic: x does not increase from knot to knot")
        if any(low > high for low, high in pairwise(self.y)):
            raise ValueError("isotonic: y decreases")
        return self

    def apply(self, probability: float) -> float:
        right = bisect_right(self.x, probability)
        if right in (0, len(self.x)):
            return self.y[0] if right == 0 else self.y[-1]
        left = right - 1
        share = (probability - self.x[left]) / (self.x[right] - self.x[left])
        low, high = self.y[left], self.y[right]
        return min(low + share * (high - low), high)


Calibration = Annotated[
    Uncalibrated | Platt | Temperature | Beta | Isotonic, Field(discriminator="method")
]


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow at either end."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))


def _logs(probability: float) -> tuple[float, float]:
    """(ln p, ln(1 - p)) of a probability that is kept off 0 and 1."""
    p = min(max(probability, EPSILON), 1 - EPSILON)
    return math.log(p), math.log1p(-p)
