"""Selection: which slides set the ranges of int8 and which judge it, and the tiles of the first."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np

from deepsmile.contract import Budget, FeatureContract
from deepsmile.digest import digest_of_slide
from deepsmile.errors import (
    DeepSmileError,
    RequestInvalid,
    TooLittleTissue,
    error_from_code,
)
from deepsmile.pipeline import SlideSource
from deepsmile.reading import Reader
from deepsmile.slides.slide import RGB
from deepsmile.tiles import TileBatch
from deepsmile_training.slide_files import slides_in

CALIBRATING_SHARE = 4
"""One slide in so many sets ranges."""
CALIBRATION_TILES = 256


def split_slides(
    places: Sequence[Path], *, calibrate: bool, judges: int
) -> tuple[list[SlideSource], list[SlideSource]]:
    """Slides that calibrate, and slides that judge: told apart by content, whatever their names.

    Raises:
        SlideNotFound: naming it. RequestInvalid: fewer than so many would judge.
    """
    known = {digest_of_slide(path): path for place in places for path in slides_in(place)}
    slides = [SlideSource(known[digest], sha256=digest) for digest in sorted(known)]
    calibrating = _calibrating(len(slides), calibrate)
    if len(slides) - calibrating < judges:
        needed = next(n for n in count(judges) if n - _calibrating(n, calibrate) >= judges)
        raise RequestInvalid(
            f"slides: {len(slides)} different ones found, {needed} are needed",
            hint=f"Give more: {judges} must judge, and {needed - judges} calibrate.",
        )
    return slides[:calibrating], slides[calibrating:]


def _calibrating(slides: int, calibrate: bool) -> int:
    return max(slides // CALIBRATING_SHARE, 1) if calibrate else 0


def calibration_tiles(
    slides: Sequence[SlideSource],
    contract: FeatureContract,
    reader: Reader,
    advance: Callable[[], None],
) -> RGB:
    """Tissue tiles as serving reads them, as many of each slide, (n, size, size, 3).

    Raises:
        SlideError, Abstention: naming the slide.
    """
    each = Budget(max_tiles=-(-CALIBRATION_TILES // len(slides)), seed=contract.budget.seed)
    rules = contract.model_copy(update={"budget": each})
    found: list[RGB] = []
    for slide in slides:
        with naming(slide):
            events = reader.read(slide.path, rules, mpp=slide.mpp)
            batches = [event.pixels for event in events if isinstance(event, TileBatch)]
            if not batches:
                raise TooLittleTissue("no tissue tile")
            found += batches
        advance()
    return np.concatenate(found)  # (n, size, size, 3)


@contextmanager
def naming(slide: SlideSource) -> Iterator[None]:
    """Say in every error which slide of many it was."""
    try:
        yield
    except DeepSmileError as error:
        detail = f"{slide.path.name}: {error.detail}"
        raise error_from_code(error.code, detail, error.hint) from error
