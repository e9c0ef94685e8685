"""Slides: which of a cohort's slides lie in a folder or a tile store, by whatever spelling."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid, some
from deepsmile_training.slide_files import SLIDE_SUFFIXES, everything_in

_UUID = re.compile(r"\.[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")
"""What the GDC appends to a slide's barcode."""


@dataclass(frozen=True)
class MatchedSlides:
    """Every slide of the cohort, in one of the two."""

    found: Mapping[str, Path]
    missing: tuple[str, ...]


def match_slides(cohort: Cohort, folder: Path) -> MatchedSlides:
    """Find a cohort's slides at any depth, as NAME, NAME.SVS, NAME.UUID.svs or a folder NAME.

    A file goes before a folder of the same name (an .mrxs has both). Raises CohortInvalid where
    a slide has two files, or where no slide is found at all.
    """
    wanted = as_listed(cohort.patient_of_slide)
    candidates: dict[str, list[Path]] = defaultdict(list)
    for path in everything_in(folder):
        name = next((wanted[each] for each in _names_of(path) if each in wanted), None)
        if name is not None:
            candidates[name].append(path)
    found = {name: _one_of(name, paths) for name, paths in sorted(candidates.items())}
    missing = tuple(sorted(cohort.patient_of_slide.keys() - found.keys()))
    if not found:
        raise CohortInvalid(
            f"{folder} has none of the {len(missing)} slides of {cohort.name}: "
            f"{some(list(missing))}"
        )
    return MatchedSlides(found, missing)


def match_names(cohort: Cohort, stored: Iterable[str]) -> dict[str, list[str]]:
    """Slides of a cohort to their names in a tile store, which has them without suffix."""
    slides = cohort.patient_of_slide
    stems = Counter(map(_stem, slides))
    unlike = {_stem(slide): slide for slide in slides if stems[_stem(slide)] == 1}
    wanted = unlike | as_listed(slides)
    found: dict[str, list[str]] = defaultdict(list)
    for name in stored:
        slide = next((wanted[each] for each in spellings(name) if each in wanted), None)
        if slide is not None:
            found[slide].append(name)
    return found


def twins(cohort: Cohort, contents: Mapping[str, object]) -> dict[str, str]:
    """Slides that repeat another of their patient to that one; `contents` tells them apart.

    Raises CohortInvalid where two patients have one: one of them would be trained on, and the
    other tested.
    """
    first: dict[object, str] = {}
    repeated: dict[str, str] = {}
    for slide in sorted(contents):
        twin, of = first.setdefault(contents[slide], slide), cohort.patient_of_slide
        if of[slide] != of[twin]:
            raise CohortInvalid(
                f"slide {twin} of patient {of[twin]} and slide {slide} of patient {of[slide]} have"
                " the same bytes",
                hint="Correct the table: give the slide to the patient whose it is, or to nobody.",
            )
        if slide != twin:
            repeated[slide] = twin
    return repeated


def slide_name(cell: str) -> str:
    """The slide that a table's cell names, be it by a path; of an umlaut's two codings one."""
    return normalize("NFC", re.split(r"[\\/]", cell.rstrip("\\/"))[-1])


def spellings(name: str) -> tuple[str, ...]:
    """Names of slides that a file's name may stand for, the longest first."""
    return name, _plain(name), _stem(name), _UUID.sub("", _stem(name))


def as_listed(names: Iterable[str]) -> dict[str, str]:
    """Names by themselves and, where no other has it, by their plain spelling."""
    listed = list(names)
    return {_plain(name): name for name in listed} | {name: name for name in listed}


def _plain(name: str) -> str:
    """A name in one spelling: composed, and with a slide's suffix in lower case."""
    composed = normalize("NFC", name)
    suffix = Path(composed).suffix
    known = suffix.lower() in SLIDE_SUFFIXES
    return composed.removesuffix(suffix) + suffix.lower() if known else composed


def _stem(name: str) -> str:
    """A plain name without a slide's suffix."""
    plain = _plain(name)
    return plain.removesuffix(suffix) if (suffix := Path(plain).suffix) in SLIDE_SUFFIXES else plain


def _names_of(path: Path) -> tuple[str, ...]:
    """Names of slides that a path may stand for; a folder's whole name alone."""
    if path.is_dir():
        return path.name, _plain(path.name)
    return spellings(path.name) if path.suffix.lower() in SLIDE_SUFFIXES else ()


def _one_of(name: str, paths: list[Path]) -> Path:
    files = [path for path in paths if path.is_file()] or paths
    if len(files) > 1:
        where = some([str(path) for path in files])
        raise CohortInvalid(f"slide {name} is there {len(files)} times: {where}")
    return files[0]
