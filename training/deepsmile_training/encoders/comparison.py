"""Comparison: encoders beside each other on the tiles of a store, the first as reference."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepsmile.bag import Features
from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.embedding import BATCH, Encode, embed, onnx_encode, torch_encode
from deepsmile_training.encoders.probe import K, Names, knn_correct, linear_correct, over_cases
from deepsmile_training.encoders.probe_report import Probed, ProbeReport, table
from deepsmile_training.encoders.sources import (
    GRAMMAR,
    RANDOM,
    read_encoder,
    settled_encoder,
    title_of,
)
from deepsmile_training.encoders.tile_encoder import TILE_PX, on_fastest
from deepsmile_training.encoders.weights import digest_of_weights
from deepsmile_training.provenance import software_versions
from deepsmile_training.stage import Stage
from deepsmile_training.tilesets.store import TileStore

SLIDE = "slide"
FEW = 10
"""A label of more values is asked only by name."""
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?", re.IGNORECASE)
MORE = "Give more --tiles, or a store of more slides and cases."


@dataclass(frozen=True)
class Question:
    """What is asked of the m tiles of a sample that have an answer, and tell each other."""

    label: str
    rows: NDArray[np.int64]
    """(m,) which tiles of the sample they are"""
    answers: Names
    """(m,)"""
    groups: Names | None
    """(m,) tiles of one group tell nothing of each other; None: every tile is its own."""
    askable: NDArray[np.bool_]
    """(m,) whether the answer occurs in another group: else none could tell it right."""


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
    """(n,) each; empty for tiles of slides that have no such value"""


def sample(store: TileStore, max_tiles: int) -> Sample:
    """All tiles, or so many: of as many slides as can have more than `K` each, over all cases."""
    chosen = np.arange(len(store))  # (n,)
    if len(store) > max_tiles:
        chosen = _some_tiles(store, max_tiles)  # (n,)
    slides = [store.slides[i] for i in store.slide_index[chosen]]
    columns = set[str]().union(*(slide.labels for slide in slides))
    return Sample(
        tiles=store.read(chosen),
        slides=np.array([slide.name for slide in slides]),
        cases=np.array([slide.case for slide in slides]),
        labels={
            c: np.array([slide.labels.get(c, "") for slide in slides]) for c in sorted(columns)
        },
    )


def _some_tiles(store: TileStore, max_tiles: int) -> NDArray[np.int64]:
    """Numbers of tiles, evenly spaced within each slide, as many of each as of any other."""
    sizes = np.bincount(store.slide_index)  # (slides,)
    starts = np.cumsum(sizes) - sizes  # (slides,)
    picked = _some_slides(store, sizes, max(max_tiles // (K + 1), 2))
    having = (sizes[picked, None] >= np.arange(1, max_tiles + 1)).sum(axis=0)  # (max_tiles,) slides
    most = int((np.cumsum(having) <= max_tiles).sum())  # tiles of a slide that has enough
    return np.concatenate([starts[i] + _spread(sizes[i], most) for i in picked])  # (n,)


def _some_slides(store: TileStore, sizes: NDArray[np.int64], count: int) -> list[int]:
    """A slide of every case, then second ones, until there are `count`; evenly spaced cases.

    Slides of `K` tiles or less are passed over, unless there are hardly others.
    """
    large = np.flatnonzero(sizes > K)  # (slides,)
    rounds: dict[int, list[int]] = defaultdict(list)
    seen: dict[str, int] = defaultdict(int)
    for slide in (large if len(large) > 1 else np.arange(len(sizes))).tolist():
        case = store.slides[slide].case
        rounds[seen[case]].append(slide)
        seen[case] += 1
    picked: list[int] = []
    for slides in rounds.values():
        picked += [slides[i] for i in _spread(len(slides), count - len(picked))]
    return sorted(picked)


def _spread(among: int, count: int) -> NDArray[np.int64]:
    """`count` of the numbers below `among`, evenly spaced, or all."""
    return np.unique(np.linspace(0, among - 1, min(count, among)).astype(int))


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
        RequestInvalid: no such label, or it tells nothing; where none is named, it is left out,
            as are those of many values and measures.
    """
    kinds = [label for label, answers in tiles.labels.items() if _names_kinds({*answers} - {""})]
    named = labels or [SLIDE, *kinds]
    asked = [_question(tiles, label) for label in named]
    mute = [q.label for q in asked if not q.askable.any() or len(set(q.answers)) < 2]
    if labels and mute:
        unit = "tiles" if mute[0] == SLIDE else "cases"
        detail = f"label {mute[0]}: no value of it is in two {unit}, or it has only one"
        raise RequestInvalid(detail, hint=MORE)
    return [q for q in asked if q.label not in mute]


def _names_kinds(values: set[str]) -> bool:
    """Whether a label is worth asking unnamed: two values, or a few that are no numbers."""
    return len(values) == 2 or (len(values) <= FEW and not all(map(NUMBER.fullmatch, values)))


def _question(tiles: Sample, label: str) -> Question:
    if label == SLIDE:
        _, codes, sizes = np.unique(tiles.slides, return_inverse=True, return_counts=True)
        return Question(label, np.arange(len(codes)), tiles.slides, None, sizes[codes] > 1)
    if label not in tiles.labels:
        known = ", ".join([SLIDE, *tiles.labels])
        raise RequestInvalid(f"the store has no label {label!r}; it has {known}")
    rows = np.flatnonzero(tiles.labels[label] != "")  # (m,)
    answers, cases = tiles.labels[label][rows], tiles.cases[rows]  # (m,) each
    cases_of = {answer: len(set(cases[answers == answer])) for answer in set(answers)}
    askable = np.array([cases_of[answer] > 1 for answer in answers])  # (m,)
    return Question(label, rows, answers, cases, askable)


def left_out(tiles: Sample, asked: Sequence[Question]) -> Iterator[str]:
    """For people: what has no answer to a question, and no part in it."""
    for question in asked:
        without = np.delete(np.arange(len(tiles.tiles)), question.rows)  # (n - m,)
        if len(without):
            slides = len(set(tiles.slides[without]))
            known = f"{question.label}: not known of {len(without):,} tiles of {slides} slides"
            yield f"{known}, which are left out"


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
        RequestInvalid: there is nothing to ask, an encoder is not there, or it is an exported one
            that takes no tiles of this size.
    """
    if not asked:
        slides = len(set(tiles.slides))
        detail = f"{len(tiles.tiles)} tiles of {slides} slides: no label can be asked of them"
        raise RequestInvalid(detail, hint=MORE)
    _check(sources, tiles.tiles.shape[1])
    found: list[Probed] = []
    reference: dict[str, NDArray[np.bool_]] = {}
    for name, sha256, encode in _encoders(sources, tiles.tiles, seeds):
        batches = -(-len(tiles.tiles) // BATCH)
        features = embed(encode, tiles.tiles, stage(name, batches))  # (n, D)
        for question in asked:
            some, cases = features[question.rows], tiles.cases[question.rows]  # (m, D), (m,)
            neighbours = knn_correct(some, question.answers, question.groups, K)  # (m,)
            first = reference.setdefault(question.label, neighbours)  # (m,)
            found.append(_probed((name, sha256), some, question, cases, (neighbours, first)))
    return found


def _encoders(sources: Sequence[str], tiles: RGB, seeds: int) -> Iterator[tuple[str, str, Encode]]:
    """Names, digests, and what encodes."""
    for source in sources:
        name = title_of(source)
        if source.endswith(".onnx"):
            yield name, digest_of_file(Path(source)), onnx_encode(Path(source))
            continue
        is_random = source.startswith(RANDOM)
        for seed in range(seeds if is_random else 1):
            encoder, _ = settled_encoder(source, tiles, seed)
            called = f"{name} seed {seed}" if is_random else name
            yield called, digest_of_weights(encoder), torch_encode(on_fastest(encoder))


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
    encoder: tuple[str, str],
    features: Features,
    question: Question,
    cases: Names,
    answered: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> Probed:
    """`encoder` is its name and digest, `answered` its answers by neighbours and the first one's.

    All are of the m tiles that have an answer.
    """
    told = (features, question.answers, question.groups)
    neighbours, first = answered
    on = question.askable  # (m,)
    estimate = partial(over_cases, cases=cases[on], seed=0)
    return Probed(
        encoder=encoder[0],
        sha256=encoder[1],
        label=question.label,
        values=tuple(sorted(set(question.answers[on].tolist()))),
        tiles=int(on.sum()),
        cases=len(set(cases[on])),
        nearest=estimate(knn_correct(*told, k=1)[on]),
        neighbours=estimate(neighbours[on]),
        linear=estimate(linear_correct(*told, seed=0)[on]),
        gain=estimate(neighbours[on].astype(float) - first[on]),
    )


def report(found: Sequence[Probed], store: str, tiles: Sample) -> ProbeReport:
    """All figures; `store` is its digest."""
    return ProbeReport(
        store=store,
        tiles=len(tiles.tiles),
        size_px=tiles.tiles.shape[1],
        neighbours=K,
        table=table(found),
        figures=tuple(found),
        software=software_versions(),
    )
