"""Sealed: test patients whom no choice is made on, and no model is chosen for twice."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deepsmile.digest import digest_of
from deepsmile.errors import RequestInvalid
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.sealed import Record, Sealed, read_sealed
from deepsmile_training.evidence.choices import Choice
from deepsmile_training.evidence.delong import require_two
from deepsmile_training.evidence.predictions import TestPredictions

SEAL = "tests.seal.json"
"""In a folder of tables, or of a cohort: who was tested there."""
LOCK = ".tests.seal.lock"
"""Beside it, so that of tests at one time each knows of the others."""


class Opening(Record):
    """A model's test; names and probabilities are hashed."""

    label: str
    """What it was asked; empty where a table does not say."""
    choice: str
    """Empty: a training of a table; it is counted, and forbids nothing."""
    validation: str
    """Digest of the predictions that the choice was made on."""
    patients: dict[str, tuple[int, str]]
    """Name -> label and probability."""

    def shared(self, other: Self) -> set[str]:
        """Patients of both."""
        return self.patients.keys() & other.patients.keys()

    def asks_as(self, other: Self) -> bool:
        """Whether some patients are of both, for one label; without names, with equal labels."""
        shared = self.shared(other)
        if self.label and other.label:
            return bool(shared) and self.label == other.label
        return bool(shared) and all(self.patients[k][0] == other.patients[k][0] for k in shared)

    def is_of_one_model_with(self, other: Self) -> bool:
        """A model is known by what it says: of all validation patients, or of all shared ones."""
        shared = self.shared(other)
        says_the_same = all(self.patients[k][1] == other.patients[k][1] for k in shared)
        chosen_on_the_same = self.validation == other.validation != ""
        return bool(shared) and (says_the_same or chosen_on_the_same)

    def chooses_again(self, other: Self) -> bool:
        """Whether it is of a model whose test the other saw, by another choice."""
        choices = {self.choice, other.choice}
        return len(choices) == 2 and "" not in choices and self.is_of_one_model_with(other)


class Seal(Sealed):
    """Every test of a folder, the first one first."""

    openings: tuple[Opening, ...] = ()

    def check_untested(self, patients: frozenset[str]) -> None:
        """Raises RequestInvalid where some of them were tested."""
        tested = {key for one in self.openings if one.choice for key in one.patients}
        again = sum(_hashed(name) in tested for name in patients)
        if again:
            raise RequestInvalid(
                f"{again} of {len(patients)} patients to choose on were test patients in this"
                " folder: the choice would be made in knowledge of the test",
                hint="Choose on other patients; another fold or split has a folder of its own."
                " Of a changed cohort, `deepsmile-train split --keep OLD.json` keeps who is"
                " tested.",
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
        """1 for the first model that was asked this of any of its patients, 2 for the second."""
        models: list[Opening] = []
        for one in filter(opening.asks_as, self.openings):
            if not any(one.is_of_one_model_with(model) for model in models):
                models.append(one)
        return [one.is_of_one_model_with(opening) for one in models].index(True) + 1


@dataclass(frozen=True, eq=False)
class Opened:
    """Test predictions, once they are shown."""

    predictions: TestPredictions
    look: int
    """1: no other model was tested on any of these patients; 2: one was; and so on."""


class SealedTest:
    """Test predictions that nobody sees before a choice is made, nor with a second choice.

    What opened them is kept in `folder`, so that it holds for later runs and other models too.
    Patients that the choice was made on are refused. `label` is what the model was asked.
    """

    __slots__ = ("__folder", "__label", "__test")

    def __init__(self, test: TestPredictions, folder: Path, label: str = "") -> None:
        if not isinstance(test, TestPredictions):
            raise TypeError(f"only TestPredictions are sealed, not {type(test).__name__}")
        self.__test = test
        self.__folder = folder
        self.__label = label

    def open(self, choice: Choice) -> Opened:
        """The predictions, for this choice from now on.

        Raises:
            RequestInvalid: they were opened for another one, or no figure could be made of them;
                then they stay closed.
        """
        if not isinstance(choice, Choice):
            raise TypeError(f"a Choice opens a test set, not {type(choice).__name__}")
        shared = choice.patients.intersection(self.__test.patients)
        if shared:
            raise RequestInvalid(
                f"{len(shared)} test patients are among those that the choice was made on",
                hint="Remove them from validation and choose again.",
            )
        self.__test.require_ranking()
        require_two(self.__test.y)
        opening = _opening(self.__test, self.__label, choice)
        after = _keep(opening, self.__folder, choice.patients)
        return Opened(self.__test, after.look_of(opening))


def note_training(test: TestPredictions, folder: Path, label: str) -> None:
    """Keep in a folder's seal that a model was tested, though nothing was chosen for it by us."""
    _keep(_opening(test, label), folder)


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


@contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """One test after the other; what keeps the seal from being written is said."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise RequestInvalid(
            f"the seal {SEAL} cannot be written beside the test predictions: {error.strerror}",
            hint="Put the predictions into a folder that you may write to.",
        ) from error


def _keep(opening: Opening, folder: Path, chosen_on: frozenset[str] = frozenset()) -> Seal:
    """The seal with an opening, unless that is refused."""
    with _in_turn(folder):
        before = read_seal(folder)
        before.check_untested(chosen_on)
        after = before.with_opening(opening)
        if after is not before:
            after.write(folder / SEAL)
    return after


def _opening(test: TestPredictions, label: str, choice: Choice | None = None) -> Opening:
    rows = zip(test.patients, test.y.tolist(), test.p.tolist(), strict=True)
    patients = {_hashed(name): (y, _hashed([name, p])) for name, y, p in rows}
    return Opening(
        label=label,
        choice=choice.digest if choice else "",
        validation=choice.validation if choice else "",
        patients=patients,
    )


def _hashed(value: object) -> str:
    return digest_of(value)[:16]
