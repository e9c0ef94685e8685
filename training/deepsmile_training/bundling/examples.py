"""Examples: where a head looked on a few test slides, in the very tiles that serving cuts.

Slides are told by their digests: names may be patients'.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepsmile.backends import Backend
from deepsmile.bag import FeatureBag
from deepsmile.contract import FeatureContract, Head
from deepsmile.digest import digest_beside
from deepsmile.errors import DeepSmileError, RequestInvalid, SlideNotFound
from deepsmile.reading import Reader
from deepsmile.report import Scored
from deepsmile.slides.slide import RGB
from deepsmile.tiles import TileBatch
from deepsmile_training.bundling.look import Candidate, TestSlide
from deepsmile_training.bundling.source import Source
from deepsmile_training.evidence.attention import SHOWN, AttentionExample, Strip, make_strip
from deepsmile_training.stage import Stage

PROTOCOL = (
    " The slides that are shown are those with the surest right and the surest wrong answer of"
    " either class, as far as there are any."
)
UNIFORM = 1e-3
"""Attention that differs from tile to tile by less, relative to its mean, points nowhere."""


@dataclass(frozen=True)
class Originals:
    """The slides that features were made of, and who is told which of them cannot be shown."""

    found: Mapping[str, Path]
    reader: Reader
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Surest:
    """A slide, its answer, and the class that the decision's operating point calls it."""

    slide: TestSlide
    scored: Scored
    called: int


def examples_of(
    candidate: Candidate,
    head: Head,
    source: Source,
    slides: Sequence[TestSlide],
    originals: Originals,
    stage: Stage,
) -> tuple[Strip, ...]:
    """A strip of each chosen slide; whichever cannot be shown is told, and stops nothing."""
    chosen = surest(slides, head)
    advance = stage(f"{head.name} examples", len(chosen))
    strips = []
    for one in chosen:
        try:
            strips.append(make_strip(example_of(candidate.backend, head, source, one, originals)))
        except (DeepSmileError, OSError) as error:
            why = " ".join(str(error).split())
            originals.tell(f"{head.name}: {one.slide.name} is not shown: {why}")
        advance()
    return tuple(strips)


def surest(slides: Sequence[TestSlide], head: Head) -> list[Surest]:
    """Of either answer the surest right and the surest wrong one; the first of equal ones."""
    found: dict[tuple[int, int], tuple[float, Surest]] = {}
    for slide in slides:
        if slide.scored is None or slide.novel:
            continue
        p = slide.scored.probability
        called = int(p >= head.decision_point.threshold)
        sure, place = p if called else 1 - p, (called, slide.y)
        if place not in found or sure > found[place][0]:
            found[place] = sure, Surest(slide, slide.scored, called)
    order = [(1, 1), (1, 0), (0, 0), (0, 1)]
    return [found[place][1] for place in order if place in found]


def example_of(
    backend: Backend, head: Head, source: Source, one: Surest, originals: Originals
) -> AttentionExample:
    """The most attended tiles of a slide.

    Raises:
        SlideNotFound: its file is not there, or is another one than its features are of.
        SlideError, Abstention: it cannot be read.
        RequestInvalid: the head looks at all tiles alike.
    """
    bag, contract = source.bag(one.slide.name), source.known.features
    assert isinstance(contract, FeatureContract), "a bundle's features are of slides"
    path = originals.found.get(one.slide.name)
    if path is None:
        raise SlideNotFound("no file of that name is in the folder")
    weights = attention_of(backend, head, bag)  # (N,)
    rows = np.argsort(-weights, kind="stable")[:SHOWN]  # (k,)
    classes = (head.negative, head.positive)
    verdict = "rightly" if one.called == one.slide.y else "wrongly"
    kept = "" if one.scored.label else "; the label is kept back"
    return AttentionExample(
        title=f"Slide {bag.slide_sha256[:12]}: true class {classes[one.slide.y]}",
        caption=f"Probability of {head.positive} {one.scored.probability:.3f}:"
        f" {verdict} called {classes[one.called]}{kept}. {len(weights)} tiles.",
        tiles=cut_tiles(path, bag, rows, originals.reader, contract),
        weights=weights[rows],
        count=len(weights),
    )


def attention_of(backend: Backend, head: Head, bag: FeatureBag) -> NDArray[np.float64]:
    """(N,) shares of the attention, the mean of the members'.

    Raises:
        RequestInvalid: they are all the same, as those of a mean are.
    """
    _, attention = backend.score(head, bag.features)  # (M, N)
    weights: NDArray[np.float64] = attention.mean(axis=0, dtype=np.float64)  # (N,)
    if np.ptp(weights) <= UNIFORM * weights.mean():
        raise RequestInvalid("the head looks at all of its tiles alike")
    return weights


def cut_tiles(
    path: Path,
    bag: FeatureBag,
    rows: NDArray[np.int64],
    reader: Reader,
    contract: FeatureContract,
) -> RGB:
    """Tiles (k, size, size, 3) of these rows (k,) of a bag, as its encoder was given them.

    Raises:
        SlideNotFound: the file is another one than the bag was made of.
        SlideError, Abstention: the slide cannot be read.
    """
    wanted = [tuple(cell) for cell in bag.cells[rows].tolist()]
    found: dict[tuple[int, ...], RGB] = {}
    with digest_beside(path, None) as sha256, closing(reader.read(path, contract)) as events:
        for event in events:
            if isinstance(event, TileBatch):
                cells = map(tuple, event.cells.tolist())
                tiles = zip(cells, event.pixels, strict=True)
                found |= {cell: tile.copy() for cell, tile in tiles if cell in wanted}
            if len(found) == len(wanted):
                break
        if sha256.result() != bag.slide_sha256 or len(found) < len(wanted):
            raise SlideNotFound("the file there is not the one that its features were made of")
    return np.stack([found[cell] for cell in wanted])  # (k, size, size, 3)
