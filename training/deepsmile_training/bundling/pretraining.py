"""Pretraining: whether a bundle's encoder learnt from test patients, as far as its file tells."""

from pathlib import Path

from deepsmile_training.cohorts.untouched import untouched_by
from deepsmile_training.encoders.encoder_file import pretrained_on
from deepsmile_training.prepared.prepared import Prepared


def seen_by(prepared: Prepared, repository: Path, encoder: str) -> int | None:
    """How many test patients have slides that it learnt from; None where it does not tell."""
    slides = pretrained_on(repository, encoder)
    return None if slides is None else untouched_by(prepared.cohort, prepared.split).count(slides)


def tell_seen(seen: int | None) -> str:
    """The same as a sentence of the card."""
    if seen is None:
        return (
            "Whether the encoder was pre-trained on slides of test patients is not known here;"
            " compare its card."
        )
    told = "By the names of the slides that it was pre-trained on, the encoder had seen"
    if not seen:
        return f"{told} no test patient."
    return f"{told} {seen} test patient{'s' if seen > 1 else ''}: figures may flatter it."
