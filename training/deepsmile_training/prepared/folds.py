"""Folds: whose work each takes, where an encoder was pre-trained for each (RESOLUTIONS row 17)."""

from collections.abc import Collection

from deepsmile_training.cohorts.problems import CohortInvalid


def of_fold(name: str, fold: int, folds: int, known: Collection[str]) -> str:
    """NAME@fold where `known` has a NAME@K at all; else NAME, which serves every fold.

    Raises:
        CohortInvalid: only some folds have their own, or NAME is one fold's own: another one's
            test patients may have been pre-trained on.
    """
    whole, at, _ = name.partition("@")
    if at:
        raise CohortInvalid(f"{name} is of one fold alone", hint=f"Name it {whole}, for all folds.")
    if not any(each.startswith(f"{name}@") for each in known):
        return name
    own = [f"{name}@{index}" for index in range(folds)]
    absent = [each for each in own if each not in known]
    if absent:
        raise CohortInvalid(
            f"{name} was made for some folds, and not for all: no {', '.join(absent)}",
            hint=f"Make the missing ones, or remove every {name}@K to use {name} for all folds.",
        )
    return own[fold]
