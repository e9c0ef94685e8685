"""Reading: predictions from a CSV of patients or of slides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Never, TypeVar

import numpy as np
import pandas as pd
from scipy.special import expit

from deepsmile.errors import RequestInvalid
from deepsmile_training.cohorts.cohort import NOT_STRATA, PROBABILITY
from deepsmile_training.cohorts.tables import read_cells
from deepsmile_training.evidence.elsewhere import elsewhere
from deepsmile_training.evidence.predictions import Predictions, ValidationPredictions
from deepsmile_training.evidence.sealed import read_seal
from deepsmile_training.metrics import Labels, Probabilities

Kind = TypeVar("Kind", bound=Predictions)

EXACT = 12
"""Decimals of a probability made of a logit; in the next ones processors differ."""


def read_predictions(path: Path, kind: type[Kind], of: str | None = None) -> Kind:
    """Columns `patient`, `y` (0 or 1), `p` or `logit`, and subgroups.

    Of several classes: `y` counts from 0 the columns `p_NAME`, and `of` is told from the rest.

    Several rows of a patient are slides, named in `slide`: their probabilities are averaged,
    labels and subgroups must agree. A column `part` must say what the table is read as.

    Raises:
        RequestInvalid: the column or row that is wrong, or validation patients who were tested.
    """
    table = _one_against_rest(_table(path), of, path)
    _check_part(table, kind, path)
    _check_repeats(table, path)
    table["p"] = _probabilities(table, path)
    table["y"] = _labels(table, path, ("0", "1"))
    columns = [name for name in table.columns if name not in NOT_STRATA]
    groups = table.groupby("patient", sort=False)
    for name in ("y", *columns):
        differing = groups[name].nunique()  # (patients,)
        if (differing > 1).any():
            row = int(table.index[table["patient"] == differing.idxmax()][0])
            _refuse(path, f"the slides of the patient in row {row + 1} disagree on {name}")
    first = groups.first()
    if issubclass(kind, ValidationPredictions):
        read_seal(elsewhere(path.parent).place).check_untested(frozenset(first.index))
    return kind(
        patients=tuple(first.index),
        y=first["y"].to_numpy(np.int64),
        p=groups["p"].mean().to_numpy(np.float64),
        subgroups={name: tuple(first[name]) for name in columns},
        slides=tuple(int(n) for n in groups.size()) if "slide" in table.columns else (),
    )


def _table(path: Path) -> pd.DataFrame:
    """Every cell as text, so that no name and no subgroup is taken for a number."""
    try:
        table = read_cells(path, keep_default_na=False, skipinitialspace=True)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        _refuse(path, f"cannot be read as a CSV: {error}")
    for name in ("patient", "y"):
        if name not in table.columns:
            _refuse(path, f"has no column {name!r}, but {', '.join(table.columns)}")
    if table.empty:
        _refuse(path, "has no rows")
    if (table["patient"] == "").any():
        _refuse(path, f"row {int((table['patient'] == '').argmax()) + 1} names no patient")
    return table


def _one_against_rest(table: pd.DataFrame, of: str | None, path: Path) -> pd.DataFrame:
    """A table of two classes as it is; of several, with `p` and `y` of one of them."""
    two = {"p", "logit"} & set(table.columns)
    columns = [name for name in table.columns if name.startswith(PROBABILITY) and not two]
    names = [name.removeprefix(PROBABILITY) for name in columns]
    if of not in names if names else of is not None:
        found = f"columns {', '.join(columns)}" if columns else "two classes only"
        hint = f"Name one with --class: {', '.join(names)}." if columns else "Leave out --class."
        raise RequestInvalid(f"{path.name} has {found}, and class {of} is asked for", hint=hint)
    if of is None:
        return table
    told = [f"{index} ({name})" for index, name in enumerate(names)]
    y = (_labels(table, path, told) == names.index(of)).astype(np.int64)  # (rows,)
    return table.assign(y=y, p=table[f"{PROBABILITY}{of}"]).drop(columns=columns)


def _check_part(table: pd.DataFrame, kind: type[Predictions], path: Path) -> None:
    if "part" not in table.columns:
        return
    wrong = (table["part"] != kind.part).to_numpy()  # (rows,)
    if wrong.any():
        row = int(wrong.argmax())
        found = table["part"].iloc[row]
        raise RequestInvalid(
            f"{path.name}: row {row + 1} is of part {found!r}, and {kind.part!r} is asked for",
            hint="Choices are made on parts 'validation'; a part 'test' is evaluated beside one.",
        )


def _check_repeats(table: pd.DataFrame, path: Path) -> None:
    named = "slide" in table.columns
    repeated = table.duplicated(["patient", "slide"] if named else ["patient"])  # (rows,)
    if repeated.any():
        why = "a slide of its patient" if named else "a patient, and no column 'slide' says why"
        _refuse(path, f"row {int(repeated.to_numpy().argmax()) + 1} repeats {why}")


def _probabilities(table: pd.DataFrame, path: Path) -> Probabilities:
    """(rows,) from the column `p`, or else from `logit`."""
    given = [name for name in ("p", "logit") if name in table.columns]
    if len(given) != 1:
        _refuse(path, "needs one of the columns 'p' and 'logit'")
    values = pd.to_numeric(table[given[0]], errors="coerce").to_numpy(np.float64)  # (rows,)
    wrong = ~np.isfinite(values)  # (rows,)
    if given == ["p"]:
        wrong |= (values < 0) | (values > 1)
    if wrong.any():
        row = int(wrong.argmax())
        _refuse(path, f"row {row + 1}: {given[0]} is {table[given[0]].iloc[row]!r}")
    return values if given == ["p"] else np.round(expit(values), EXACT)


def _labels(table: pd.DataFrame, path: Path, classes: Sequence[str]) -> Labels:
    """(rows,) indices of classes, which are named for whoever gave another one."""
    y = pd.to_numeric(table["y"], errors="coerce").to_numpy(np.float64)  # (rows,)
    wrong = ~np.isin(y, range(len(classes)))  # (rows,) NaN is none
    if wrong.any():
        row, known = int(wrong.argmax()), ", ".join(classes)
        _refuse(path, f"row {row + 1}: y is {table['y'].iloc[row]!r}, none of {known}")
    return y.astype(np.int64)


def _refuse(path: Path, detail: str) -> Never:
    hint = "Columns: patient, y (0 or 1), p or logit, slide, part; all others make subgroups."
    raise RequestInvalid(f"{path.name}: {detail}", hint=hint)
