"""Problems: what can be wrong with a table, a cohort or a split."""

from deepsmile.errors import RequestInvalid


class CohortInvalid(RequestInvalid):
    """A table, a cohort or a split that would give wrong numbers, or none."""

    hint = "Correct the table or the option that the detail names, and run the command again."


class PatientOverlap(CohortInvalid):
    """A patient stands in two parts of a split, so a test would not be one."""

    hint = "Make the split again with `deepsmile-train split`; do not edit its file."


def some(names: list[str], shown: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
