"""Tables: CSV, TSV and XLSX files as text, cell by cell, so that "01" stays "01"."""

import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import pandas as pd

from deepsmile_training.cohorts.problems import CohortInvalid, some

EXCEL = (".xlsx", ".xlsm")
SEPARATORS = ("\t", ";", ",")
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "None", "n/a", "null"]
    + [f"{sign}{word}" for sign in ("", "-") for word in ("NaN", "nan", "1.#IND", "1.#QNAN")]
)
"""Cells that say nothing, as pandas has them, but whatever spaces are around them."""


def read_table(path: Path, columns: Iterable[str] = ()) -> pd.DataFrame:
    """All cells as stripped text, those that say nothing as missing.

    The first sheet of a workbook; otherwise tabs, semicolons or commas, whichever the header has
    most of. "NA", "NaN", "null" and "None" are missing, as pandas has it.

    Raises CohortInvalid where a column is missing, or stands there twice.
    """
    read = _read_workbook if path.suffix.lower() in EXCEL else _read_text
    try:
        header, table = read(path, header=None, nrows=1), read(path)
    except FileNotFoundError as error:
        raise CohortInvalid(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise CohortInvalid(
            f"{path.name}: not a table that can be read: {error}",
            hint='Save it as UTF-8; in Excel as "CSV UTF-8 (Comma delimited)".',
        ) from error
    except (OSError, ValueError, BadZipFile, KeyError) as error:
        told = str(error).strip()
        raise CohortInvalid(f"{path.name}: not a table that can be read: {told}") from error
    _check_header(header, path.name)
    table.columns = table.columns.astype(str).str.strip()
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise CohortInvalid(
            f"{path.name}: no column {', '.join(missing)}; it has {', '.join(table.columns[:20])}"
        )
    for column in table.columns:
        cells = table[column].str.strip()
        table[column] = cells.mask(cells.isin(MISSING))
    return table


def read_cells(path: Path, separator: str = ",", **options: Any) -> pd.DataFrame:  # noqa: ANN401
    """All cells of a text table as text; `options` are pandas' own.

    Raises ParserError where a row has more cells than the header: pandas would take its first
    ones for names, and give every column the cells of the next.
    """
    table: pd.DataFrame = pd.read_csv(
        path, sep=separator, dtype=str, encoding="utf-8-sig", **options
    )
    if not isinstance(table.index, pd.RangeIndex):
        raise pd.errors.ParserError(
            f"row 1 below the header has more cells than the header's {len(table.columns)}"
        )
    return table


def rows_of(table: pd.DataFrame) -> list[dict[str, str]]:
    """One dictionary per row, without the missing cells."""
    return [
        {str(key): str(cell) for key, cell in row.items() if not pd.isna(cell)}
        for row in table.to_dict("records")
    ]


def column_by(rows: list[dict[str, str]], key: str, column: str) -> dict[str, str]:
    """A column by another one. Raises CohortInvalid where two rows disagree."""
    values: dict[str, str] = {}
    for row in rows:
        if key in row and column in row and values.setdefault(row[key], row[column]) != row[column]:
            raise CohortInvalid(f"{row[key]} has {values[row[key]]} and {row[column]} for {column}")
    return values


def number(text: str, where: str) -> float:
    """A cell as a finite number. Raises CohortInvalid that says where it stands."""
    try:
        value = float(text)
    except ValueError as error:
        raise CohortInvalid(f"{where}: {text!r} is not a number") from error
    if not -float("inf") < value < float("inf"):
        raise CohortInvalid(f"{where}: {text} is not finite")
    return value


def _check_header(header: pd.DataFrame, table: str) -> None:
    """Of two columns of one name pandas would rename the second, and nobody would read it."""
    names = Counter(str(name).strip() for name in header.to_numpy().ravel())
    twice = [name for name, count in names.items() if name and count > 1]
    if twice:
        raise CohortInvalid(f"{table}: columns that stand there twice: {some(twice)}")


def _read_workbook(path: Path, **options: Any) -> pd.DataFrame:  # noqa: ANN401
    with warnings.catch_warnings():
        # Formatting that openpyxl does not know; the cells are all there.
        warnings.filterwarnings("ignore", "Unknown extension", UserWarning)
        cells: pd.DataFrame = pd.read_excel(path, dtype=str, keep_default_na=False, **options)
        return cells


def _read_text(path: Path, **options: Any) -> pd.DataFrame:  # noqa: ANN401
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    separator = max(SEPARATORS, key=header.count)
    return read_cells(path, separator, keep_default_na=False, **options)
