"""Strata: what splits are balanced by, as codes, one column per property."""

import numpy as np
import pandas as pd

from deepsmile_training.cohorts.cohort import Cohort, Patient
from deepsmile_training.cohorts.dealing import Ints
from deepsmile_training.cohorts.problems import CohortInvalid, some
from deepsmile_training.cohorts.rules import ThresholdRule


def strata_of(patients: list[Patient], cohort: Cohort, columns: tuple[str, ...]) -> Ints:
    """(P, L) codes of labels, scores or strata; missing is a value of its own.

    Scores are binned by rank among all these patients, for balance alone: no label comes of it.
    """
    codes = [np.zeros(len(patients), np.int64)]
    codes += [_codes_of(patients, cohort, column) for column in columns]
    return np.stack(codes, axis=1)


def _codes_of(patients: list[Patient], cohort: Cohort, column: str) -> Ints:
    if column in cohort.rules:
        return _bins(patients, cohort.rules[column])
    if any(column in one.scores for one in cohort.patients):
        return _bins(
            patients, ThresholdRule(column=column, classes=("", ""), lower=1 / 3, upper=2 / 3)
        )
    values = [one.labels.get(column, one.strata.get(column)) for one in patients]
    known = any(column in (*one.labels, *one.strata) for one in cohort.patients)
    if not known:
        raise CohortInvalid(f"{cohort.name} has no label, score or stratum {column}")
    return _factorized(values)


def _bins(patients: list[Patient], rule: ThresholdRule) -> Ints:
    """(P,) low, middle, high by the share of patients below and up to each score; -1 missing."""
    scores = pd.Series([one.scores.get(rule.column) for one in patients], dtype=float)  # (P,)
    count = scores.count()
    below = (scores.rank(method="min") - 1) / count  # (P,)
    up_to = scores.rank(method="max") / count  # (P,)
    high = (below if rule.strict else up_to) >= rule.upper  # (P,)
    codes = np.select([scores.isna(), high, below <= rule.lower], [-1, 2, 0], 1)  # (P,)
    return codes.astype(np.int64)


def sites_of(patients: list[Patient]) -> Ints:
    """(P,) a code per site. Raises CohortInvalid where one is unknown."""
    homeless = [one.name for one in patients if one.site is None]
    if homeless:
        raise CohortInvalid(f"patients without a site: {some(homeless)}")
    return _factorized([one.site for one in patients])


def _factorized(values: list[str | None]) -> Ints:
    codes, _ = pd.factorize(pd.Series(values, dtype=object), sort=True)  # (P,) -1 where missing
    return codes.astype(np.int64)
