"""Noting: that a model was tested on a cohort's test patients, so that later looks are counted."""

from collections.abc import Sequence
from pathlib import Path

from deepsmile_training.evidence.elsewhere import POINTER, Elsewhere
from deepsmile_training.evidence.predictions import TestPredictions
from deepsmile_training.evidence.reading import read_predictions
from deepsmile_training.evidence.sealed import note_training


def note_tests(table: Path, cohort: Path, label: str, classes: Sequence[str]) -> None:
    """Keep a table's test in the cohort's folder, and beside the table where that is kept.

    Of several classes each is a question of its own, as `evidence --class` asks it.
    """
    there = Elsewhere(folder=str(cohort.resolve()), label=label)
    for of in classes if len(classes) > 2 else [None]:
        test = read_predictions(table, TestPredictions, of)
        note_training(test, there.place, there.asked(of))
    there.write(table.parent / POINTER)
