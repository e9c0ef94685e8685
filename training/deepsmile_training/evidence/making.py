"""Making: from tables of predictions to what a report is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.choices import Choice, make_choice
from deepsmile_training.evidence.evaluated import Evaluated, cross_evaluated, on_sealed_test
from deepsmile_training.evidence.learning import Run, learning_curve
from deepsmile_training.evidence.points import Targets
from deepsmile_training.evidence.predictions import TestPredictions, ValidationPredictions
from deepsmile_training.evidence.reading import read_predictions
from deepsmile_training.evidence.report import Extras
from deepsmile_training.evidence.sealed import SealedTest


@dataclass(frozen=True)
class Tables:
    """CSV files of one model."""

    predictions: Path
    validation: Path | None
    """Without it the predictions themselves are validation, and figures are cross-fitted."""

    @property
    def seal(self) -> Path:
        """The file beside the test predictions that tells what opened them."""
        return self.predictions.with_suffix(".seal.json")


def evaluate_tables(tables: Tables, targets: Targets, seed: int) -> tuple[Evaluated, Choice]:
    """Choose on validation; then, and only then, look at the test set."""
    if tables.validation is None:
        validation = read_predictions(tables.predictions, ValidationPredictions)
        choice = make_choice(validation, targets=targets, seed=seed)
        return cross_evaluated(validation, targets=targets, seed=seed), choice
    validation = read_predictions(tables.validation, ValidationPredictions)
    choice = make_choice(validation, targets=targets, seed=seed)
    sealed = SealedTest(read_predictions(tables.predictions, TestPredictions), tables.seal)
    return on_sealed_test(sealed, choice), choice


def extras_from(compare: Sequence[Path], runs: Sequence[str]) -> Extras:
    """Other models by the names of their files, and a learning curve from PATIENTS=CSV."""
    others = {path.stem: read_predictions(path, TestPredictions) for path in compare}
    return Extras(others, learning_curve([_run(text) for text in runs]))


def _run(text: str) -> Run:
    size, _, path = text.partition("=")
    if not size.isdigit() or not path:
        hint = "Write the number of training patients, =, and the CSV."
        raise RequestInvalid(f"run: {text!r} is not PATIENTS=CSV", hint=hint)
    return Run(int(size), read_predictions(Path(path), TestPredictions))
