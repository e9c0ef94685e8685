"""Comparison: encoders beside each other on the tiles of a store, the first as reference."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.embedding import BATCH, Encode, embed, onnx_encode, torch_encode
from deepsmile_training.encoders.probe import K, Names, knn_correct, linear_correct, over_cases
from deepsmile_training.encoders.sources import (
    GRAMMAR,
    RANDOM,
    read_encoder,
    settled_encoder,
    title_of,
)
from deepsmile_training.encoders.tile_encoder import TILE_PX
from deepsmile_training.metrics import Estimate
from deepsmile_training.provenance import software_versions
from deepsmile_training.stage import Stage
from deepsmile_training.tilesets.store import TileStore

SLIDE, USUAL = "slide", ("slide", "organ")
SHOWN = 3
"""Values of a label that the table names."""


@dataclass(frozen=True)
class Question:
    """What is asked of every tile, and which tiles can be told right at all."""

    label: str
    answers: Names
    """(n,)"""
    groups: Names | None
    """(n,) tiles of one group tell nothing of each other; None: every tile is its own."""
    askable: NDArray[np.bool_]
    """(n,) whether the answer occurs in another group."""


@dataclass(frozen=True)
class Probed:
    """One encoder's answers to one question: shares of tiles, intervals over cases."""

    encoder: str
    label: str
    values: tuple[str, ...]
    """The label's values that were asked for."""
    tiles: int
    cases: int
    nearest: Estimate
    neighbours: Estimate
    linear: Estimate
    gain: Estimate
    """Of `neighbours` over the first encoder's, tile by tile."""


@dataclass(frozen=True)
class Sample:
    """Tiles of a store, with the names of their slides and cases."""

    tiles: RGB
    """(n, s, s, 3)"""
    slides: Names
    """(n,)"""
    cases: Names
    """(n,)"""
    labels: dict[str, Names]
    """(n,) each"""


def sample(store: TileStore, max_tiles: int) -> Sample:
    """At most so many tiles, evenly spaced over the store."""
    chosen = np.unique(np.linspace(0, len(store) - 1, min(max_tiles, len(store))).astype(int))
    slides = [store.slides[i] for i in store.slide_index[chosen]]
    columns = set.intersection(*(set(slide.labels) for slide in slides))
    return Sample(
        tiles=store.read(chosen),
        slides=np.array([slide.name for slide in slides]),
        cases=np.array([slide.case for slide in slides]),
        labels={c: np.array([slide.labels[c] for slide in slides]) for c in sorted(columns)},
    )


def shown_at(tiles: Sample, size_px: int) -> Sample:
    """The same tiles, resized by area for the encoders to see: the tissue shrinks with them.

    Raises:
        RequestInvalid: they are smaller.
    """
    given_px = tiles.tiles.shape[1]
    if size_px > given_px:
        raise RequestInvalid(f"size: {size_px} px, and the store's tiles have {given_px}")
    size = (size_px, size_px)
    resized = [cv2.resize(tile, size, interpolation=cv2.INTER_AREA) for tile in tiles.tiles]
    return replace(tiles, tiles=np.stack(resized).astype(np.uint8, copy=False))


def questions(tiles: Sample, labels: Sequence[str]) -> list[Question]:
    """What can be asked: of the slide by its other tiles, of any other label by other cases.

    Raises:
        RequestInvalid: no such label, or it tells nothing; where none is named, it is left out.
    """
    named = labels or [label for label in USUAL if label == SLIDE or label in tiles.labels]
    asked = [_question(tiles, label) for label in named]
    mute = [q.label for q in asked if not q.askable.any() or len(set(q.answers)) < 2]
    if labels and mute:
        raise RequestInvalid(f"label {mute[0]}: no value of it is in two cases, or it has only one")
    return [q for q in asked if q.label not in mute]


def _question(tiles: Sample, label: str) -> Question:
    if label == SLIDE:
        _, codes, sizes = np.unique(tiles.slides, return_inverse=True, return_counts=True)
        return Question(label, tiles.slides, None, sizes[codes] > 1)
    if label not in tiles.labels:
        known = ", ".join([SLIDE, *tiles.labels])
        raise RequestInvalid(f"the store has no label {label!r}; it has {known}")
    answers = tiles.labels[label]
    cases_of = {answer: len(set(tiles.cases[answers == answer])) for answer in set(answers)}
    askable = np.array([cases_of[answer] > 1 for answer in answers])  # (n,)
    return Question(label, answers, tiles.cases, askable)


def compare(
    sources: Sequence[str],
    tiles: Sample,
    asked: Sequence[Question],
    *,
    seeds: int,
    stage: Stage,
) -> list[Probed]:
    """Every encoder on every question; of a random one, as many as there are seeds.

    Raises:
        RequestInvalid: one is not there, or is an exported one that takes no tiles of this size.
    """
    _check(sources, tiles.tiles.shape[1])
    found: list[Probed] = []
    reference: dict[str, NDArray[np.bool_]] = {}
    for name, encode in _encoders(sources, tiles.tiles, seeds):
        batches = -(-len(tiles.tiles) // BATCH)
        features = embed(encode, tiles.tiles, stage(name, batches))  # (n, D)
        for question in asked:
            neighbours = knn_correct(features, question.answers, question.groups, K)  # (n,)
            first = reference.setdefault(question.label, neighbours)  # (n,)
            found.append(_probed(name, features, question, tiles.cases, (neighbours, first)))
    return found


def _encoders(sources: Sequence[str], tiles: RGB, seeds: int) -> Iterator[tuple[str, Encode]]:
    for source in sources:
        name = title_of(source)
        if source.endswith(".onnx"):
            yield name, onnx_encode(Path(source))
        elif not source.startswith(RANDOM):
            yield name, torch_encode(settled_encoder(source, tiles)[0])
        else:
            for seed in range(seeds):
                yield f"{name} seed {seed}", torch_encode(settled_encoder(source, tiles, seed)[0])


def _check(sources: Sequence[str], size_px: int) -> None:
    """Every encoder can be read and takes the tiles, before the first one takes its minutes."""
    served = [source for source in sources if source.endswith(".onnx")]
    if served and size_px != TILE_PX:
        raise RequestInvalid(
            f"{title_of(served[0])} takes tiles of {TILE_PX} px, not {size_px}",
            hint="Leave --size out, or name the encoder.pt that it was exported from.",
        )
    for source in sources:
        if source not in served:
            read_encoder(source)
        elif not Path(source).is_file():
            raise RequestInvalid(f"{source}: no such file", hint=GRAMMAR)


def _probed(
    name: str,
    features: Features,
    question: Question,
    cases: Names,
    answered: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> Probed:
    """`answered` are this encoder's answers by neighbours and the first one's, (n,) each."""
    told = (features, question.answers, question.groups)
    neighbours, first = answered
    on = question.askable  # (n,)
    estimate = partial(over_cases, cases=cases[on], seed=0)
    return Probed(
        encoder=name,
        label=question.label,
        values=tuple(sorted(set(question.answers[on].tolist()))),
        tiles=int(on.sum()),
        cases=len(set(cases[on])),
        nearest=estimate(knn_correct(*told, k=1)[on]),
        neighbours=estimate(neighbours[on]),
        linear=estimate(linear_correct(*told, seed=0)[on]),
        gain=estimate(neighbours[on].astype(float) - first[on]),
    )


def report(found: Sequence[Probed], store: str, tiles: Sample) -> dict[str, Any]:
    """All figures, as JSON holds them; `store` is its digest."""
    return {
        "store": store,
        "tiles": len(tiles.tiles),
        "size_px": tiles.tiles.shape[1],
        "neighbours": K,
        "table": table(found),
        "figures": [asdict(one) for one in found],
        "software": software_versions(),
    }


def table(found: Sequence[Probed]) -> str:
    """Markdown, one line per encoder and question."""
    head = "| encoder | label | nearest | 20-NN | linear | 20-NN over the first |"
    head = head.replace("20", str(K))
    rows = [
        f"| {one.encoder} | {_asked(one)} | {_cell(one.nearest)} | {_cell(one.neighbours)}"
        f" | {_cell(one.linear)} | {_cell(one.gain, '+')} |"
        for one in found
    ]
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def _asked(one: Probed) -> str:
    values = ", ".join(one.values) if len(one.values) <= SHOWN else f"{len(one.values)} values"
    return f"{one.label}: {values}; {one.tiles:,} tiles, {one.cases} cases"


def _cell(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (
        f"{number:{sign}.3f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"
