"""Threshold rules: labels cut from a score where the training patients' quantiles lie."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.sealed import Record


@dataclass(frozen=True)
class DevelopmentScores:
    """Scores of a fold's training and validation patients; `splits.development_scores` only."""

    column: str
    values: tuple[float, ...]


class Thresholds(Record):
    """Where a fold's own patients put the cuts; scores between them are discarded."""

    lower: float
    upper: float
    strict: bool
    patients: int
    """How many scores they were taken from."""

    def class_of(self, score: float) -> int | None:
        """1 above (or at, unless strict) the upper one, 0 up to the lower one, else None."""
        if score > self.upper or (score == self.upper and not self.strict):
            return 1
        return 0 if score <= self.lower else None


class ThresholdRule(Record):
    """A binary label by two quantiles of a score; never by the test patients' scores."""

    column: str
    classes: tuple[str, str]
    lower: float = Field(gt=0, lt=1)
    upper: float = Field(gt=0, lt=1)
    strict: bool = False

    @model_validator(mode="after")
    def _leaves_no_tie(self) -> Self:
        if self.lower > self.upper or (self.lower == self.upper and not self.strict):
            raise ValueError("the lower quantile must be below the upper, or equal and strict")
        return self

    def fit(self, scores: DevelopmentScores) -> Thresholds:
        """The thresholds that these patients give. Raises CohortInvalid where they coincide."""
        if scores.column != self.column or not scores.values:
            raise CohortInvalid(f"no training patient has a score {self.column}")
        lower, upper = np.quantile(scores.values, [self.lower, self.upper]).tolist()
        if lower == upper and not self.strict:
            raise CohortInvalid(
                f"{self.column}: quantiles {self.lower} and {self.upper} are both {lower}"
            )
        return Thresholds(lower=lower, upper=upper, strict=self.strict, patients=len(scores.values))
