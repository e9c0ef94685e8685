"""Subgroups: figures of the patients that share a value, or why there are none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepsmile.errors import RequestInvalid
from deepsmile_training.cohorts.cohort import Patient
from deepsmile_training.evidence.curves import proportion
from deepsmile_training.evidence.delong import auc_with_interval
from deepsmile_training.evidence.evaluated import Evaluated
from deepsmile_training.metrics import Estimate

LEAST_OF_A_CLASS = 10
"""With fewer positives or negatives an AUROC is mostly chance, and its interval says too little."""
MOST_VALUES = 20
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Subgroup:
    """Patients with one value in one column."""

    column: str
    value: str
    patients: int
    positives: int
    prevalence: Estimate
    mean_probability: float
    """Calibrated; near the prevalence where the calibration holds for them."""
    auroc: Estimate | None
    why_not: str = ""


def subgroups_of(patients: Sequence[Patient]) -> dict[str, tuple[str, ...]]:
    """Strata and sites, where they make groups: at least two, and no list of nearly everybody."""
    columns = sorted({name for one in patients for name in one.strata})
    found = {name: tuple(one.strata.get(name, UNKNOWN) for one in patients) for name in columns}
    found["site"] = tuple(one.site or UNKNOWN for one in patients)
    return {name: values for name, values in found.items() if 1 < len(set(values)) <= MOST_VALUES}


def subgroups(evaluated: Evaluated) -> tuple[Subgroup, ...]:
    """One row per value of each column, by DeLong; too small a group says so instead."""
    found = []
    for column, values in evaluated.predictions.subgroups.items():
        named = np.array(values)  # (n,)
        distinct = sorted(set(values))
        if len(distinct) > MOST_VALUES:
            raise RequestInvalid(
                f"{column}: {len(distinct)} values are no subgroups, at most {MOST_VALUES} are",
                hint="Group them first, say age into decades, or leave the column out.",
            )
        found += [
            _subgroup(evaluated, column, value, np.flatnonzero(named == value))
            for value in distinct
        ]
    return tuple(found)


def _subgroup(evaluated: Evaluated, column: str, value: str, rows: NDArray[np.int64]) -> Subgroup:
    y, p = evaluated.predictions.y[rows], evaluated.predictions.p[rows]  # (k,), (k,)
    positives, negatives = int(y.sum()), int(len(y) - y.sum())
    prevalence = proportion(positives, len(y))
    assert prevalence is not None  # a value that nobody has is no value
    enough = min(positives, negatives) >= LEAST_OF_A_CLASS
    return Subgroup(
        column=column,
        value=value,
        patients=len(y),
        positives=positives,
        prevalence=prevalence,
        mean_probability=float(evaluated.calibrated[rows].mean()),
        auroc=auc_with_interval(p, y) if enough else None,
        why_not=""
        if enough
        else f"too small: {positives} positive, {negatives} negative;"
        f" {LEAST_OF_A_CLASS} of each are needed",
    )
