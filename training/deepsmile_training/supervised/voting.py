"""Voting: from tiles' probabilities to a patient's (paper eq. 4)."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepsmile_training.mil.training import of_patients

Vote = Literal["share", "mean"]
"""share: of tiles whose likeliest class it is (eq. 4); mean: of their probabilities, as the
authors' code does (RESOLUTIONS row 20)."""


def vote(
    p: NDArray[np.float64], slides: NDArray[np.int64], patients: tuple[str, ...], rule: Vote
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Tiles' probabilities (n, C) by slide (n,) -> sorted patients, (k, C).

    `patients` names each slide's, by its number. A slide without tiles has no vote; a patient's is
    the mean of the slides' (section 3.2, RESOLUTIONS row 18).
    """
    votes = np.eye(p.shape[1])[p.argmax(axis=1)] if rule == "share" else p  # (n, C)
    present, index = np.unique(slides, return_inverse=True)  # (s,), (n,)
    sums = np.zeros((len(present), p.shape[1]))  # (s, C)
    np.add.at(sums, index, votes)
    of_slides = sums / np.bincount(index)[:, None]  # (s, C) eq. 4
    return of_patients(of_slides, tuple(patients[i] for i in present))
