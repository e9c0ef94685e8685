"""Generic cohorts: a table of your own, one row per slide (or per patient, slides unknown)."""

from pathlib import Path

from pydantic import Field

from deepsmile.digest import digest_of_file
from deepsmile_training.cohorts.cohort import Cohort, Patient, make_cohort
from deepsmile_training.cohorts.problems import CohortInvalid, some
from deepsmile_training.cohorts.rules import ThresholdRule
from deepsmile_training.cohorts.sealed import Record
from deepsmile_training.cohorts.tables import number, read_table, rows_of

NO_SLIDE = "patients left out: no slide"


class Columns(Record):
    """Which column is what."""

    patient: str = "patient"
    slide: str | None = "slide"
    site: str | None = None
    labels: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Label to its classes in order; none: all values, sorted."""
    scores: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    rules: dict[str, ThresholdRule] = Field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    """Cells that say nothing, beside empty ones and NA."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column that the table must have."""
        optional = [column for column in (self.slide, self.site) if column]
        cuts = [rule.column for rule in self.rules.values() if rule.column not in self.scores]
        return (self.patient, *optional, *self.labels, *self.scores, *cuts, *self.strata)


def read_cohort(path: Path, columns: Columns, *, name: str | None = None) -> Cohort:
    """A cohort from a CSV, TSV or XLSX file; with a column of slides, of those who have one.

    Raises CohortInvalid where the rows of a patient disagree, a row has no patient, or a label
    has a value that is none of its classes.
    """
    table = read_table(path, columns.needed)[list(dict.fromkeys(columns.needed))]
    rows = [
        {key: cell for key, cell in row.items() if cell not in columns.missing}
        for row in rows_of(table)
    ]
    nameless = [str(index + 2) for index, row in enumerate(rows) if columns.patient not in row]
    if nameless:
        raise CohortInvalid(f"{path.name}: no patient in line {some(nameless)}")
    of: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        of.setdefault(row[columns.patient], []).append(row)
    everyone = [_patient(who, its, columns) for who, its in of.items()]
    patients = [one for one in everyone if one.slides or not columns.slide]
    left_out = len(everyone) - len(patients)
    values = {
        label: sorted({one.labels[label] for one in patients if label in one.labels})
        for label in columns.labels
    }
    return make_cohort(
        name or path.stem,
        patients,
        sources={path.name: digest_of_file(path)},
        notes={NO_SLIDE: left_out} if left_out else {},
        classes={
            label: classes or tuple(values[label]) for label, classes in columns.labels.items()
        },
        rules=columns.rules,
    )


def _patient(name: str, rows: list[dict[str, str]], columns: Columns) -> Patient:
    facts = {
        column: _agreed(name, rows, column) for column in columns.needed if column != columns.slide
    }
    known = {column: fact for column, fact in facts.items() if fact is not None}
    scores = {*columns.scores, *(rule.column for rule in columns.rules.values())} & set(known)
    return Patient(
        name=name,
        site=known.get(columns.site or ""),
        slides=tuple(sorted(row[columns.slide] for row in rows if columns.slide in row))
        if columns.slide
        else (),
        labels={label: known[label] for label in columns.labels if label in known},
        scores={
            score: number(known[score], f"patient {name}, {score}") for score in sorted(scores)
        },
        strata={column: known[column] for column in columns.strata if column in known},
    )


def _agreed(name: str, rows: list[dict[str, str]], column: str) -> str | None:
    values = {row[column] for row in rows if column in row}
    if len(values) > 1:
        raise CohortInvalid(f"patient {name} has {some(sorted(values))} for {column}")
    return values.pop() if values else None
