"""Small cohorts for tests."""

import numpy as np

from deepsmile_training.cohorts.cohort import Cohort, Patient, make_cohort
from deepsmile_training.cohorts.tcga_bc import RULES

MSI = ("MSS", "MSI-H")


def person(index: int, *, msi: str | None = None, **known: object) -> Patient:
    """Patient P000 and so on, with one slide."""
    labels = {"MSI": msi} if msi else {}
    return Patient.model_validate(
        {"name": f"P{index:03d}", "slides": (f"S{index:03d}",), "labels": labels, **known}
    )


def msi_cohort(patients: int = 60, positives: int = 12) -> Cohort:
    """Every label known; the first ones are positive."""
    people = [person(index, msi=MSI[int(index < positives)]) for index in range(patients)]
    return make_cohort("people", people, classes={"MSI": MSI})


def scored_cohort(scores: list[float]) -> Cohort:
    """Patients with an HRD score, and mHRD and tHRD by rule."""
    people = [person(index, scores={"HRD": score}) for index, score in enumerate(scores)]
    return make_cohort("scored", people, rules=RULES)


def mixed_cohort(seed: int, patients: int, sites: int = 8) -> Cohort:
    """Random labels (some missing), scores, strata and sites of unequal size."""
    rng = np.random.default_rng(seed)
    people = [
        person(
            index,
            msi=[None, *MSI][int(rng.choice(3, p=(0.1, 0.6, 0.3)))],
            site=f"s{int(sites * rng.random() ** 2)}",
            scores={"HRD": float(rng.integers(0, 60))} if rng.random() < 0.9 else {},
            strata={"sex": "FM"[int(rng.integers(2))]},
        )
        for index in range(patients)
    ]
    people += [person(patients + index, msi=MSI[index], site="s0") for index in range(2)]
    return make_cohort("mixed", people, classes={"MSI": MSI}, rules=RULES)
