"""Sealed: test patients whom no choice is made on, and no model is chosen for twice."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deepsmile.digest import digest_of
from deepsmile.errors import RequestInvalid
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.sealed import Record, Sealed, read_sealed
from deepsmile_training.evidence.choices import Choice
from deepsmile_training.evidence.predictions import TestPredictions

SEAL = "tests.seal.json"
"""In a folder of tables, or of a cohort: who was tested there."""


class Opening(Record):
    """A model's test; names and probabilities are hashed."""

    choice: str
    validation: str
    """Digest of the predictions that the choice was made on."""
    patients: dict[str, tuple[int, str]]
    """Name -> label and probability."""

    def shared(self, other: Self) -> set[str]:
        """Patients of both."""
        return self.patients.keys() & other.patients.keys()

    def asks_as(self, other: Self) -> bool:
        """Whether some patients are of both, with the same labels."""
        shared = self.shared(other)
        return bool(shared) and all(self.patients[k][0] == other.patients[k][0] for k in shared)

    def chooses_again(self, other: Self) -> bool:
        """Whether it is of a model whose test the other saw, by another choice.

        A model is known by what it says: of all validation patients, or of all shared ones.
        """
        shared = self.shared(other)
        if not shared or self.choice == other.choice:
            return False
        says_the_same = all(self.patients[k][1] == other.patients[k][1] for k in shared)
        return says_the_same or self.validation == other.validation


class Seal(Sealed):
    """Every test of a folder, the first one first."""

    openings: tuple[Opening, ...] = ()

    def check_untested(self, patients: frozenset[str]) -> None:
        """Raises RequestInvalid where some of them were tested."""
        tested = {key for one in self.openings for key in one.patients}
        again = sum(_hashed(name) in tested for name in patients)
        if again:
            raise RequestInvalid(
                f"{again} of {len(patients)} patients to choose on were test patients in this"
                " folder: the choice would be made in knowledge of the test",
                hint="Choose on other patients; another fold or split has a folder of its own.",
            )

    def with_opening(self, opening: Opening) -> Self:
        """With this one too, unless it is there; raises RequestInvalid for a second choice."""
        for one in self.openings:
            if opening.chooses_again(one):
                raise RequestInvalid(
                    f"these test patients were opened for choice {one.choice[:16]}, and this is"
                    f" {opening.choice[:16]}: it would be made in knowledge of the test",
                    hint="Report the first choice, or test patients that nobody has looked at.",
                )
        if opening in self.openings:
            return self
        return self.model_copy(update={"openings": (*self.openings, opening)})

    def look_of(self, opening: Opening) -> int:
        """1 for the first test of a question on any of its patients, 2 for the second, ..."""
        return [one for one in self.openings if one.asks_as(opening)].index(opening) + 1


@dataclass(frozen=True, eq=False)
class Opened:
    """Test predictions, once they are shown."""

    predictions: TestPredictions
    look: int
    """1: no other model was tested on any of these patients; 2: one was; and so on."""


class SealedTest:
    """Test predictions that nobody sees before a choice is made, nor with a second choice.

    What opened them is kept in `folder`, so that it holds for later runs and other models too.
    Patients that the choice was made on are refused.
    """

    __slots__ = ("__folder", "__test")

    def __init__(self, test: TestPredictions, folder: Path) -> None:
        if not isinstance(test, TestPredictions):
            raise TypeError(f"only TestPredictions are sealed, not {type(test).__name__}")
        self.__test = test
        self.__folder = folder

    def open(self, choice: Choice) -> Opened:
        """The predictions, for this choice from now on."""
        if not isinstance(choice, Choice):
            raise TypeError(f"a Choice opens a test set, not {type(choice).__name__}")
        shared = choice.patients.intersection(self.__test.patients)
        if shared:
            raise RequestInvalid(
                f"{len(shared)} test patients are among those that the choice was made on",
                hint="Remove them from validation and choose again.",
            )
        before = read_seal(self.__folder)
        before.check_untested(choice.patients)
        opening = _opening(self.__test, choice)
        after = before.with_opening(opening)
        if after is not before:
            _write(after, self.__folder)
        return Opened(self.__test, after.look_of(opening))


def read_seal(folder: Path) -> Seal:
    """Who was tested in a folder. Raises RequestInvalid where the record was changed."""
    path = folder / SEAL
    if not path.exists():
        return Seal()
    try:
        return read_sealed(path, Seal)
    except CohortInvalid as error:
        hint = "Restore the file: it tells which patients were tested, and by what choice."
        raise RequestInvalid(f"the seal of tests is damaged: {error.detail}", hint=hint) from error


def _write(seal: Seal, folder: Path) -> None:
    try:
        seal.write(folder / SEAL)
    except OSError as error:
        raise RequestInvalid(
            f"the seal {SEAL} cannot be written beside the test predictions: {error.strerror}",
            hint="Put the predictions into a folder that you may write to.",
        ) from error


def _opening(test: TestPredictions, choice: Choice) -> Opening:
    rows = zip(test.patients, test.y.tolist(), test.p.tolist(), strict=True)
    patients = {_hashed(name): (y, _hashed([name, p])) for name, y, p in rows}
    return Opening(choice=choice.digest, validation=choice.validation, patients=patients)


def _hashed(value: object) -> str:
    return digest_of(value)[:16]
