"""Gate: how far a variant's features and scores are from its parent's, and how far they may be.

Both are computed as serving computes them: bags by `deepsmile.pipeline.extract`, scores by
`score_bag`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepsmile.backends import Backend
from deepsmile.bag import FeatureBag, Features
from deepsmile.bundle import Bundle
from deepsmile.contract import Head
from deepsmile.pipeline import SlideSource, extract, score_bag
from deepsmile.precision import Bounds, HeadShift, Shift
from deepsmile.reading import Reader
from deepsmile_training.variants.selection import naming

BOUNDS = Bounds(cosine_mean=0.999, cosine_min=0.99, score=0.005)
"""The least cosine keeps out an encoder that fails on few tiles, which the mean would not show."""
LOST = HeadShift(raw=1.0, calibrated=1.0, labels_changed=1)
"""Of a slide with features that are no numbers, as when fp16 overflows."""


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on at least."""

    slides: int
    tiles: int


FEWEST = Evidence(slides=12, tiles=300)
"""A variant that moves a quarter of all slides too far passes 12 of them 3 times in 100, and tiles
that are one in a hundred are among 300 of them 95 times in 100."""


@dataclass(frozen=True)
class Served:
    """A bundle with its models loaded, and the bags it has made: a parent is asked for each way."""

    bundle: Bundle
    backend: Backend
    bags: dict[SlideSource, FeatureBag] = field(default_factory=dict)


def measure(
    slides: Sequence[SlideSource],
    parent: Served,
    variant: Served,
    reader: Reader,
    advance: Callable[[], None],
) -> Shift:
    """Score every slide with both, and compare.

    Raises:
        SlideError, Abstention: naming the slide; one without a score measures nothing.
    """
    cosines: list[NDArray[np.float64]] = []
    moved: list[list[HeadShift]] = []
    for slide in slides:
        with naming(slide):
            before, after = _bag(slide, parent, reader), _bag(slide, variant, reader)
            cosines.append(cosine(before.features, after.features))  # (N,)
            moved.append(_moved(before, parent, after, variant))
        advance()
    tiles = np.concatenate(cosines)  # (sum of N,)
    names = [head.name for head in parent.bundle.contract.heads]
    return Shift(
        slides=len(slides),
        tiles=len(tiles),
        cosine_mean=float(tiles.mean()),
        cosine_min=float(tiles.min()),
        heads={n: _farthest(each) for n, each in zip(names, zip(*moved, strict=True), strict=True)},
    )


def cosine(a: Features, b: Features) -> NDArray[np.float64]:
    """Of each row of `a` (N, D) with its like in `b`, (N,); 0 for rows without a direction."""
    x, y = a.astype(np.float64), b.astype(np.float64)  # (N, D) each
    with np.errstate(invalid="ignore"):
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)  # (N,)
        cosines: NDArray[np.float64] = np.nan_to_num((x * y).sum(axis=1) / lengths)  # (N,)
    return cosines


def _bag(slide: SlideSource, served: Served, reader: Reader) -> FeatureBag:
    if slide not in served.bags:
        contract = served.bundle.contract.features
        served.bags[slide] = extract(slide, contract, served.backend, reader).need_bag()
    return served.bags[slide]


def _moved(
    before: FeatureBag, parent: Served, after: FeatureBag, variant: Served
) -> list[HeadShift]:
    """One for each head."""
    ours, theirs = parent.bundle.contract.heads, variant.bundle.contract.heads
    if not np.isfinite(after.features).all():
        return [LOST for _ in ours]
    shifts = []
    for head, same in zip(ours, theirs, strict=True):
        was = score_bag(before, _any_slide(head), parent.bundle, parent.backend)
        now = score_bag(after, _any_slide(same), variant.bundle, variant.backend)
        shifts.append(
            HeadShift(
                raw=abs(now.probability_raw - was.probability_raw),
                calibrated=abs(now.probability - was.probability),
                labels_changed=int(now.label != was.label),
            )
        )
    return shifts


def _any_slide(head: Head) -> Head:
    """The head without its rule for novel slides: how far a score moves shows on them too."""
    return head.model_copy(update={"novelty": None})


def _farthest(shifts: Sequence[HeadShift]) -> HeadShift:
    return HeadShift(
        raw=max(shift.raw for shift in shifts),
        calibrated=max(shift.calibrated for shift in shifts),
        labels_changed=sum(shift.labels_changed for shift in shifts),
    )
