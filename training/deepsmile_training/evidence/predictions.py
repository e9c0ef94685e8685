"""Predictions: one probability per patient with its label, of validation or of test patients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import ClassVar, Concatenate, Never, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepsmile.digest import digest_of
from deepsmile.errors import RequestInvalid
from deepsmile_training.metrics import Labels, Probabilities

Rest = ParamSpec("Rest")
Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class Predictions:
    """A table of patients that was checked when it was made and cannot change afterwards.

    Raises RequestInvalid for labels of one class and for anything that is no probability.
    """

    part: ClassVar[str] = ""
    """What a table's column `part` must say, where it has one."""

    patients: tuple[str, ...]
    y: Labels
    """(n,) 0 or 1."""
    p: Probabilities
    """(n,) of the positive class."""
    subgroups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> one value per patient."""
    slides: tuple[int, ...] = ()
    """Slides per patient, where known."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "y", _frozen(self.y))
        object.__setattr__(self, "p", _frozen(self.p))
        self._check_lengths()
        self._check_values()

    @classmethod
    def numbered(cls, p: Probabilities, y: Labels) -> Self:
        """Of patients without names."""
        return cls(tuple(str(i) for i in range(len(y))), y, p)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return digest_of(
            {
                "patients": list(self.patients),
                "y": self.y.tolist(),
                "p": self.p.tolist(),
                "subgroups": {name: list(values) for name, values in self.subgroups.items()},
                "slides": list(self.slides),
            }
        )

    def require_ranking(self) -> None:
        """Raises RequestInvalid where all probabilities are equal, so that nothing is ranked."""
        if (self.p == self.p[0]).all():
            detail = f"every patient has the probability {self.p[0]:g}: there is nothing to rank"
            _refuse(detail, "Look at the model: it tells nobody apart.")

    def taken(self, rows: NDArray[np.int64]) -> Self:
        """These rows (k,) only."""
        return replace(
            self,
            patients=tuple(self.patients[i] for i in rows),
            y=self.y[rows],
            p=self.p[rows],
            subgroups={name: tuple(v[i] for i in rows) for name, v in self.subgroups.items()},
            slides=tuple(self.slides[i] for i in rows) if self.slides else (),
        )

    def with_probabilities(self, p: Probabilities) -> Self:
        """The same patients with other probabilities (n,)."""
        return replace(self, p=p)

    def _check_lengths(self) -> None:
        n = len(self.patients)
        lengths = {"y": len(self.y), "p": len(self.p)}
        lengths |= {name: len(values) for name, values in self.subgroups.items()}
        for name, length in lengths.items():
            if length != n:
                _refuse(f"{name} has {length} values for {n} patients")
        if len(self.slides) not in (0, n):
            _refuse(f"slides has {len(self.slides)} values for {n} patients")
        if len(set(self.patients)) != n:
            _refuse("a patient occurs twice", "Give one row per patient.")

    def _check_values(self) -> None:
        wrong = np.flatnonzero(~((self.p >= 0) & (self.p <= 1)))  # (k,) NaN is wrong too
        if len(wrong):
            _refuse(f"row {wrong[0] + 1}: p is {self.p[wrong[0]]}, not a probability")
        if not np.isin(self.y, (0, 1)).all():
            _refuse("y has values other than 0 and 1")
        positives = int(self.y.sum())
        if positives in (0, len(self.y)):
            _refuse(
                f"y has one class only: {positives} of {len(self.y)} patients are positive",
                "Choose patients of both classes; no figure of ours exists for one.",
            )


class ValidationPredictions(Predictions):
    """Of patients that no model scored here was trained on, and that choices may be made on."""

    part = "validation"


class TestPredictions(Predictions):
    """Of patients that figures are given for; nothing that chooses accepts them."""

    __test__ = False  # so that pytest does not take it for a test
    part = "test"


def selects(
    choose: Callable[Concatenate[ValidationPredictions, Rest], Answer],
) -> Callable[Concatenate[ValidationPredictions, Rest], Answer]:
    """Refuse at run time what mypy refuses before: choosing on anything but validation."""

    @wraps(choose)
    def checked(
        validation: ValidationPredictions, /, *args: Rest.args, **kwargs: Rest.kwargs
    ) -> Answer:
        if not isinstance(validation, ValidationPredictions):
            found = type(validation).__name__
            raise TypeError(f"choices are made on ValidationPredictions only, not on {found}")
        return choose(validation, *args, **kwargs)

    return checked


def _frozen(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """A copy that refuses to be written to."""
    copy = np.array(values)
    copy.setflags(write=False)
    return copy


def _refuse(detail: str, hint: str = "Correct the predictions; nothing is guessed.") -> Never:
    raise RequestInvalid(detail, hint=hint)
