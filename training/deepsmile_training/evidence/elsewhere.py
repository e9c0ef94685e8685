"""Elsewhere: tables whose tests are kept in a cohort's folder, with those of all its models."""

from pathlib import Path

from deepsmile.errors import RequestInvalid
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.sealed import Sealed, read_sealed

POINTER = "tests.elsewhere.json"


class Elsewhere(Sealed):
    """Where the tests of a folder's tables are kept, and what their models are asked."""

    folder: str
    label: str = ""

    @property
    def place(self) -> Path:
        """The folder."""
        return Path(self.folder)

    def asked(self, of: str | None) -> str:
        """The label, or one of several classes against the rest; empty where nobody said."""
        return f"{self.label}: {of}" if self.label and of else self.label


def elsewhere(tables: Path) -> Elsewhere:
    """What a folder says, by default that its tests are kept in itself.

    Raises:
        RequestInvalid: it was changed, or the cohort's folder is gone.
    """
    path = tables / POINTER
    if not path.exists():
        return Elsewhere(folder=str(tables))
    try:
        found = read_sealed(path, Elsewhere)
    except CohortInvalid as error:
        raise RequestInvalid(error.detail, hint="Make the tables again.") from error
    if not found.place.is_dir():
        raise RequestInvalid(
            f"{found.folder}, where the tests of these tables are kept, is gone",
            hint="Put the cohort's folder back, or make the tables again where it is now.",
        )
    return found
