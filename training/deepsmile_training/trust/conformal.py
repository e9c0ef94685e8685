"""Conformal: prediction sets that hold the true class as often as promised, in either class.

The promise is split-conformal (Vovk et al. 2005, section 4.5: Mondrian, one class at a time): for
a slide that is exchangeable with the calibration slides of its class, the set holds that class
with at least the promised probability. It is an average over draws of calibration slides and of
the slide; it is void on another population, scanner or prevalence of subtypes, and, with several
slides of one patient, it holds for patients only if each has one probability here.
"""

import math

import numpy as np

from deepsmile.contract import Conformal
from deepsmile.report import DECIMALS
from deepsmile_training.evidence.predictions import ValidationPredictions, selects
from deepsmile_training.metrics import Probabilities

COVERAGE = 0.9
"""Of either class, unless a plan says otherwise."""


@selects
def fit_conformal(validation: ValidationPredictions, coverage: float = COVERAGE) -> Conformal:
    """The rule from calibrated validation predictions.

    They may have fitted the calibration: it keeps the order of patients, and the sets depend on
    nothing else. Too few of a class: the class is in every set.
    """
    served = np.round(validation.p, DECIMALS)  # (n,)
    negative, positive = served[validation.y == 0], served[validation.y == 1]  # (n0,), (n1,)
    return Conformal(
        coverage=coverage,
        negative_up_to=_upper(negative, coverage, otherwise=1.0),
        positive_from=-_upper(-positive, coverage, otherwise=-0.0),
        basis=f"{len(negative)} negative and {len(positive)} positive validation predictions",
    )


def conformal_rank(slides: int, coverage: float) -> int:
    """Which of the sorted scores bounds `coverage` of further ones: ceil((n + 1) coverage)."""
    return math.ceil(round((slides + 1) * coverage, 9))


def _upper(scores: Probabilities, coverage: float, *, otherwise: float) -> float:
    """The bound on scores (n,), or `otherwise` where n is too small for one."""
    rank = conformal_rank(len(scores), coverage)
    return otherwise if rank > len(scores) else float(np.sort(scores)[rank - 1])
