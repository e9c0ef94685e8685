"""Generic cohorts: a table of your own, one row per slide (or per patient, slides unknown)."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize

from pydantic import Field

from deepsmile.digest import digest_of_file
from deepsmile_training.cohorts.cohort import Cohort, Patient, make_cohort
from deepsmile_training.cohorts.problems import CohortInvalid, some
from deepsmile_training.cohorts.rules import ThresholdRule
from deepsmile_training.cohorts.sealed import Record
from deepsmile_training.cohorts.slides import slide_name
from deepsmile_training.cohorts.tables import number, read_table, rows_of

NO_SLIDE = "patients left out: no slide"
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


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
    """Cells of labels and strata that say nothing, beside empty ones and NA."""
    missing_in: dict[str, frozenset[str]] = Field(default_factory=dict)
    """Column to further cells of it that say nothing."""
    distinct: bool = False
    """Patients, sites, strata and classes that differ in case, spaces or leading zeros alone are
    not one."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column that the table must have."""
        optional = [column for column in (self.slide, self.site) if column]
        return (self.patient, *optional, *self.labels, *self.numbers, *self.strata)

    @property
    def grouping(self) -> tuple[str, ...]:
        """Columns that say who belongs together: of labels those whose classes are not given."""
        open_labels = [label for label, classes in self.labels.items() if not classes]
        columns = [*open_labels, *self.strata, *([self.site] if self.site else [])]
        return tuple(column for column in columns if column not in self.numbers)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Columns of scores, those of the rules among them."""
        cuts = [rule.column for rule in self.rules.values()]
        return tuple(dict.fromkeys((*self.scores, *cuts)))

    @property
    def saying_nothing(self) -> dict[str, frozenset[str]]:
        """Column to the cells of it that say nothing, where any were named."""
        others = {self.patient, self.slide, self.site, *self.numbers}
        groups = {*self.labels, *self.strata} - others if self.missing else set()
        named = dict.fromkeys(sorted(groups), self.missing)
        return named | {
            column: named.get(column, frozenset()) | cells
            for column, cells in self.missing_in.items()
        }


def read_cohort(path: Path, columns: Columns, *, name: str | None = None) -> Cohort:
    """A cohort from a CSV, TSV or XLSX file; with a column of slides, of those who have one.

    Raises CohortInvalid where the rows of a patient disagree, a row has no patient, two patients,
    sites, strata or classes may be one, or a label has a value that is none of its classes.
    """
    table = read_table(path, columns.needed)[list(dict.fromkeys(columns.needed))]
    rows, notes = _without_missing(rows_of(table), columns)
    nameless = [str(index + 2) for index, row in enumerate(rows) if columns.patient not in row]
    if nameless:
        raise CohortInvalid(f"{path.name}: no patient in line {some(nameless)}")
    of: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        of.setdefault(row[columns.patient], []).append(row)
    if not columns.distinct:
        _refuse_two_spellings("patients who may be one", of)
        for column in columns.grouping:
            cells = {row[column] for row in rows if column in row}
            _refuse_two_spellings(f"values of {column} that may be one", sorted(cells))
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
        notes=notes | ({NO_SLIDE: left_out} if left_out else {}),
        classes={
            label: classes or tuple(values[label]) for label, classes in columns.labels.items()
        },
        rules=columns.rules,
    )


def _without_missing(
    rows: list[dict[str, str]], columns: Columns
) -> tuple[list[dict[str, str]], dict[str, int]]:
    """Rows without the cells that say nothing, and notes of how many there were."""
    nothing = columns.saying_nothing
    strange = sorted(set(nothing) - set(columns.needed))
    if strange:
        raise CohortInvalid(
            f"missing cells of {some(strange)}: not one of {', '.join(columns.needed)}"
        )
    blank = Counter(
        key for row in rows for key, cell in row.items() if cell in nothing.get(key, ())
    )
    kept = [
        {key: cell for key, cell in row.items() if cell not in nothing.get(key, ())} for row in rows
    ]
    return kept, {f"cells of {column} taken for missing": blank[column] for column in nothing}


def _refuse_two_spellings(what: str, names: Iterable[str]) -> None:
    """Raises CohortInvalid where spreadsheets or typing may have made two of one."""
    spelled: dict[str, list[str]] = defaultdict(list)
    for name in names:
        plain = "".join(normalize("NFC", name).casefold().split())
        spelled[_LEADING_ZEROS.sub("", plain)].append(name)
    alike = [" and ".join(map(repr, each)) for each in spelled.values() if len(each) > 1]
    if alike:
        raise CohortInvalid(
            f"{what}: {some(alike)}",
            hint="Spell each in one way in the table; if they do differ, say --distinct.",
        )


def _patient(name: str, rows: list[dict[str, str]], columns: Columns) -> Patient:
    facts = {
        column: _agreed(name, rows, column) for column in columns.needed if column != columns.slide
    }
    known = {column: fact for column, fact in facts.items() if fact is not None}
    scores = set(columns.numbers) & set(known)
    return Patient(
        name=name,
        site=known.get(columns.site or ""),
        slides=tuple(sorted(slide_name(row[columns.slide]) for row in rows if columns.slide in row))
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
