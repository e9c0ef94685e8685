"""Making: from tables of predictions to what a report is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.choices import Choice, make_choice
from deepsmile_training.evidence.elsewhere import elsewhere
from deepsmile_training.evidence.evaluated import Evaluated, cross_evaluated, on_sealed_test
from deepsmile_training.evidence.learning import Run, learning_curve
from deepsmile_training.evidence.points import Targets
from deepsmile_training.evidence.predictions import (
    Predictions,
    TestPredictions,
    ValidationPredictions,
)
from deepsmile_training.evidence.reading import read_predictions
from deepsmile_training.evidence.report import Extras
from deepsmile_training.evidence.sealed import SealedTest


@dataclass(frozen=True)
class Tables:
    """CSV files of one model."""

    predictions: Path
    validation: Path | None
    """Without it the predictions themselves are validation, and figures are cross-fitted."""
    of: str | None = None
    """Which of several classes is told from the rest."""


def evaluate_tables(tables: Tables, targets: Targets, seed: int) -> tuple[Evaluated, Choice]:
    """Choose on validation; then, and only then, look at the test set."""
    if tables.validation is None:
        validation = read_predictions(tables.predictions, ValidationPredictions, tables.of)
        evaluated = cross_evaluated(validation, targets=targets, seed=seed)
        return evaluated, make_choice(validation, targets=targets, seed=seed)
    validation = read_predictions(tables.validation, ValidationPredictions, tables.of)
    choice = make_choice(validation, targets=targets, seed=seed)
    test = read_predictions(tables.predictions, TestPredictions, tables.of)
    there = elsewhere(tables.predictions.parent)
    sealed = SealedTest(test, there.place, there.asked(tables.of))
    return on_sealed_test(sealed, choice), choice


def extras_from(
    compare: Sequence[str], runs: Sequence[str], kind: type[Predictions], of: str | None = None
) -> Extras:
    """Other models from NAME=CSV or CSV, and a learning curve from PATIENTS=CSV, of one kind."""
    others: dict[str, Predictions] = {}
    for text in compare:
        name, path = _named(text)
        if name in others:
            hint = "Name each, as in --compare first=A/test.csv --compare second=B/test.csv."
            raise RequestInvalid(f"compare: two models are called {name!r}", hint=hint)
        others[name] = read_predictions(path, kind, of)
    return Extras(others, learning_curve([_run(text, kind, of) for text in runs]))


def _named(text: str) -> tuple[str, Path]:
    """A model's name, by default that of its file, and the file."""
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals else (Path(text).stem, Path(text))


def _run(text: str, kind: type[Predictions], of: str | None) -> Run:
    size, _, path = text.partition("=")
    if not size.isdigit() or not path:
        hint = "Write the number of training patients, =, and the CSV."
        raise RequestInvalid(f"run: {text!r} is not PATIENTS=CSV", hint=hint)
    return Run(int(size), read_predictions(Path(path), kind, of))
