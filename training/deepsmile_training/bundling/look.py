"""Look: the only one at the test patients, by a sealed bundle, as it would be served."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deepsmile.answer import answer
from deepsmile.backends import Backend
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.errors import TooLittleTissue
from deepsmile.pipeline import score_bag
from deepsmile.report import Scored
from deepsmile_training.bundling.source import Source
from deepsmile_training.cohorts.labels import FoldLabels, resolve_labels
from deepsmile_training.evaluation import is_declined
from deepsmile_training.evidence.choices import Choice
from deepsmile_training.evidence.evaluated import Evaluated, on_sealed_test
from deepsmile_training.evidence.predictions import TestPredictions
from deepsmile_training.evidence.sealed import SealedTest
from deepsmile_training.evidence.subgroups import subgroups_of


@dataclass(frozen=True)
class Candidate:
    """A sealed bundle that nobody has tested, and what runs it."""

    bundle: Bundle
    backend: Backend


@dataclass(frozen=True)
class TestSlide:
    """What became of one slide."""

    __test__ = False  # so that pytest does not take it for a test

    patient: str
    name: str
    y: int
    """The patient's class."""
    tiles: int
    scored: Scored | None
    """None: declined for too little tissue, and in no figure."""
    novel: bool
    """Declined as unlike the training slides; in all figures all the same."""

    @property
    def raw(self) -> float | None:
        """Raw probability, if it has one."""
        return self.scored.probability_raw if self.scored else None


@dataclass(frozen=True, eq=False)
class Tested:
    """What a head says of the test patients."""

    evaluated: Evaluated
    answers: tuple[Scored, ...]
    """To each patient's mean raw probability, in the order of the predictions."""
    slides: tuple[TestSlide, ...]


def look_at_test(
    candidate: Candidate, head: Head, source: Source, choice: Choice, label: str
) -> Tested:
    """Score the test patients of `label`, then open the predictions for the choice.

    Raises:
        RequestInvalid: no patients of both classes could be scored, or these were tested before
            with another choice for this model.
    """
    prepared = source.prepared
    labels = resolve_labels(prepared.cohort, prepared.split.folds[0], label)
    patients = labels.patients("test")
    slides = tuple(
        slide for name in patients for slide in _score(candidate, head, source, labels, name)
    )
    test = _predictions(slides, source)
    evaluated = on_sealed_test(SealedTest(test, prepared.root, label), choice)
    answers = tuple(answer(head, np.array([p]), None) for p in test.p.tolist())
    return Tested(evaluated, answers, slides)


def _score(
    candidate: Candidate, head: Head, source: Source, labels: FoldLabels, patient: str
) -> Iterator[TestSlide]:
    open_head, y = head.model_copy(update={"novelty": None}), labels.of[patient]
    for name in source.slides(patient):
        bag, bundle = source.bag(name), candidate.bundle
        tiles = len(bag.features)
        try:
            scored = score_bag(bag, open_head, bundle, candidate.backend)
        except TooLittleTissue:
            yield TestSlide(patient, name, y, tiles, scored=None, novel=False)
            continue
        yield TestSlide(patient, name, y, tiles, scored, is_declined(bag, head, bundle))


def _predictions(slides: Sequence[TestSlide], source: Source) -> TestPredictions:
    """One row per patient, the mean of the slides (RESOLUTIONS row 18)."""
    raw: dict[str, list[float]] = {}
    for slide in slides:
        if slide.raw is not None:
            raw.setdefault(slide.patient, []).append(slide.raw)
    names, of = tuple(sorted(raw)), {slide.patient: slide.y for slide in slides}
    return TestPredictions(
        patients=names,
        y=np.array([of[name] for name in names], np.int64),
        p=np.array([np.mean(raw[name]) for name in names], np.float64),
        subgroups=subgroups_of([source.prepared.cohort.by_name[name] for name in names]),
        slides=tuple(len(raw[name]) for name in names),
    )
