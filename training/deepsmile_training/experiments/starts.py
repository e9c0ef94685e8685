"""Starts: the encoders that tile supervision starts from, in a prepared cohort's `encoders/`."""

from pathlib import Path

from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.prepared.folds import of_fold
from deepsmile_training.prepared.prepared import Prepared


def start_names(prepared: Prepared) -> tuple[str, ...]:
    """Encoders by name, those that were pre-trained for each fold (NAME@0, ...) once."""
    return tuple(sorted({file.partition("@")[0] for file in _files(prepared)}))


def start_path(prepared: Prepared, name: str, fold: int) -> Path:
    """The encoder that a fold starts from; raises CohortInvalid where it has none."""
    known = _files(prepared)
    own = of_fold(name, fold, len(prepared.split.folds), known)
    if own not in known:
        have = ", ".join(start_names(prepared)) or "none"
        raise CohortInvalid(
            f"no encoder {name} for fold {fold}; there are: {have}",
            hint=f"Put an encoder.pt into {prepared.root / 'encoders'} as {name}.pt.",
        )
    return known[own]


def _files(prepared: Prepared) -> dict[str, Path]:
    return {path.stem: path for path in (prepared.root / "encoders").glob("*.pt")}
