"""Reading: predictions from a CSV of patients or of slides."""

from pathlib import Path
from typing import Never, TypeVar

import numpy as np
import pandas as pd
from scipy.special import expit

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.predictions import Predictions
from deepsmile_training.metrics import Labels, Probabilities

Kind = TypeVar("Kind", bound=Predictions)

KNOWN = ("patient", "y", "p", "logit", "slide")
"""Columns with a meaning of their own; every other one makes subgroups."""


def read_predictions(path: Path, kind: type[Kind]) -> Kind:
    """Columns `patient`, `y` (0 or 1), `p` or `logit`, and subgroups.

    Several rows of a patient are slides: their probabilities are averaged, labels and subgroups
    must agree. Raises RequestInvalid naming the column or the row.
    """
    table = _table(path)
    table["p"] = _probabilities(table, path)
    table["y"] = _labels(table, path)
    columns = [name for name in table.columns if name not in KNOWN]
    groups = table.groupby("patient", sort=False)
    for name in ("y", *columns):
        differing = groups[name].nunique()  # (patients,)
        if (differing > 1).any():
            row = int(table.index[table["patient"] == differing.idxmax()][0])
            _refuse(path, f"the slides of the patient in row {row + 1} disagree on {name}")
    first = groups.first()
    return kind(
        patients=tuple(first.index),
        y=first["y"].to_numpy(np.int64),
        p=groups["p"].mean().to_numpy(np.float64),
        subgroups={name: tuple(first[name]) for name in columns},
        slides=tuple(int(n) for n in groups.size()),
    )


def _table(path: Path) -> pd.DataFrame:
    """Every cell as text, so that no name and no subgroup is taken for a number."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
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
    return values if given == ["p"] else np.asarray(expit(values), np.float64)


def _labels(table: pd.DataFrame, path: Path) -> Labels:
    """(rows,)"""
    y = pd.to_numeric(table["y"], errors="coerce").to_numpy(np.float64)  # (rows,)
    wrong = ~np.isin(y, (0, 1))  # (rows,) NaN is neither
    if wrong.any():
        row = int(wrong.argmax())
        _refuse(path, f"row {row + 1}: y is {table['y'].iloc[row]!r}, neither 0 nor 1")
    return y.astype(np.int64)


def _refuse(path: Path, detail: str) -> Never:
    hint = "Columns: patient, y (0 or 1), p or logit; any other column makes subgroups."
    raise RequestInvalid(f"{path.name}: {detail}", hint=hint)
