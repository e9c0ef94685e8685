"""Folds take an encoder of their own where it was pre-trained for each (RESOLUTIONS row 17)."""

import pytest

from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.prepared.folds import of_fold


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ((), ["SimCLR"] * 3),
        (("SimCLR", "BYOL@1", "SimCLR-2@0"), ["SimCLR"] * 3),
        (("SimCLR@0", "SimCLR@1", "SimCLR@2"), ["SimCLR@0", "SimCLR@1", "SimCLR@2"]),
        (("SimCLR", "SimCLR@0", "SimCLR@1", "SimCLR@2"), ["SimCLR@0", "SimCLR@1", "SimCLR@2"]),
    ],
)
def test_every_fold_has_its_own_or_all_have_one(known: tuple[str, ...], expected: list[str]):
    assert [of_fold("SimCLR", fold, 3, known) for fold in range(3)] == expected


@pytest.mark.parametrize("fold", range(3))
@pytest.mark.parametrize(
    ("known", "absent"),
    [
        (("SimCLR", "SimCLR@1"), "no SimCLR@0, SimCLR@2"),
        (("SimCLR", "SimCLR@0", "SimCLR@2"), "no SimCLR@1"),
        (("SimCLR", "SimCLR@3"), "no SimCLR@0, SimCLR@1, SimCLR@2"),
    ],
)
def test_no_fold_falls_back_on_the_others(known: tuple[str, ...], absent: str, fold: int):
    with pytest.raises(CohortInvalid, match=absent):
        of_fold("SimCLR", fold, 3, known)


def test_one_fold_s_own_serves_no_other():
    with pytest.raises(CohortInvalid, match="SimCLR@0 is of one fold alone"):
        of_fold("SimCLR@0", 0, 3, {"SimCLR@0", "SimCLR@1", "SimCLR@2"})
