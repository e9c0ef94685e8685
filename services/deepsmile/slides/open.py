"""Opening a slide: preflight, then cuCIM where it is safe, OpenSlide for the rest."""

import importlib.util
from pathlib import Path

from deepsmile.errors import SlideCorrupt, SlideUnsupported
from deepsmile.slides.cucim import CucimSlide
from deepsmile.slides.files import kind_of, locate
from deepsmile.slides.openslide import OpenSlideSlide
from deepsmile.slides.slide import Slide
from deepsmile.slides.tiff import UNSOUND, TiffFacts, inspect_tiff

CUCIM_SUFFIXES = (".tif", ".tiff", ".svs")


def open_slide(path: Path, scratch: Path, *, reserve_bytes: int = 0) -> Slide:
    """Open the slide that `path` holds: a file, a folder (DICOM, MRXS) or a zip of one.

    Nothing but its parts (`deepsmile.parts`) is read.

    Call it in a process that may die: decoders are C code and files are hostile
    (`deepsmile.reading` does). `scratch` is an empty folder that the caller removes; unpacking
    a zip there leaves `reserve_bytes` of its disk free.

    Raises:
        SlideError: with the code that fits.
    """
    file = locate(path, scratch, reserve_bytes=reserve_bytes)
    if kind_of(file) != "tiff":
        return OpenSlideSlide(file, None, "not a TIFF")
    facts = inspect_tiff(file)
    objection = _objection(facts)
    if objection:
        return _through_openslide(file, facts, objection)
    try:
        return CucimSlide(
            _with_suffix(file, scratch),
            facts.format,
            facts.mpp,
            second_opinion=lambda: OpenSlideSlide(file, facts.mpp, "second opinion"),
        )
    except SlideUnsupported as refusal:
        return OpenSlideSlide(file, facts.mpp, refusal.detail)


def cucim_is_installed() -> bool:
    """Whether the fast reader can be used."""
    return importlib.util.find_spec("cucim") is not None


def _through_openslide(file: Path, facts: TiffFacts, objection: str) -> Slide:
    try:
        return OpenSlideSlide(file, facts.mpp, objection)
    except SlideUnsupported as refusal:
        if UNSOUND in facts.cucim_objections:  # the one reader of this layout will not have it
            raise SlideCorrupt(refusal.detail) from refusal
        raise


def _objection(facts: TiffFacts) -> str:
    if facts.cucim_objections:
        return "; ".join(facts.cucim_objections)
    return "" if cucim_is_installed() else "cuCIM is not installed"


def _with_suffix(path: Path, scratch: Path) -> Path:
    """A name that cuCIM accepts: it goes by the suffix, and minds its case."""
    if path.suffix in CUCIM_SUFFIXES:
        return path
    link = scratch / "slide.tif"
    link.symlink_to(path.resolve())
    return link
