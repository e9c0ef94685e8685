"""Sealed: a test set that opens for one frozen choice and for no other."""

import json
from pathlib import Path

from deepsmile.disk import write_file
from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.choices import Choice
from deepsmile_training.evidence.predictions import TestPredictions


class SealedTest:
    """Test predictions that nobody sees before a choice is made, nor with a second choice.

    The record of what opened it is kept in `seal`, a file beside the predictions, so that it
    holds for later runs too. Patients that the choice was made on are refused.
    """

    __slots__ = ("__seal", "__test")

    def __init__(self, test: TestPredictions, seal: Path) -> None:
        if not isinstance(test, TestPredictions):
            raise TypeError(f"only TestPredictions are sealed, not {type(test).__name__}")
        self.__test = test
        self.__seal = seal

    def open(self, choice: Choice) -> TestPredictions:
        """The predictions, for this choice from now on."""
        if not isinstance(choice, Choice):
            raise TypeError(f"a Choice opens a test set, not {type(choice).__name__}")
        shared = choice.patients.intersection(self.__test.patients)
        if shared:
            raise RequestInvalid(
                f"{len(shared)} test patients are among those that the choice was made on",
                hint="Remove them from validation and choose again.",
            )
        opened = opened_for(self.__seal)
        first = opened.setdefault(self.__test.digest, choice.digest)
        if first != choice.digest:
            raise RequestInvalid(
                f"these test predictions were opened for choice {first[:16]}, and this is"
                f" {choice.digest[:16]}: it would be made in knowledge of the test",
                hint="Report the first choice, or bring test patients that nobody has looked at.",
            )
        self._record(opened)
        return self.__test

    def _record(self, opened: dict[str, str]) -> None:
        try:
            write_file(self.__seal, json.dumps(opened, indent=1) + "\n")
        except PermissionError as error:
            raise RequestInvalid(
                f"the seal {self.__seal.name} cannot be written beside the test predictions",
                hint="Put the predictions into a folder that you may write to.",
            ) from error


def opened_for(seal: Path) -> dict[str, str]:
    """Digest of test predictions -> digest of the choice that opened them, the first one first."""
    if not seal.exists():
        return {}
    opened: dict[str, str] = json.loads(seal.read_text())
    return opened
