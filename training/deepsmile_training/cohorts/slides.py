"""Slides: which of a cohort's slides lie in a folder, and which are missing."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    """Find a cohort's slides at any depth, as NAME, NAME.svs, NAME.UUID.svs or a folder NAME.

    A file goes before a folder of the same name (an .mrxs has both). Raises CohortInvalid where
    a slide has two files, or where no slide is found at all.
    """
    wanted = cohort.patient_of_slide.keys()
    candidates: dict[str, list[Path]] = defaultdict(list)
    for path in everything_in(folder):
        name = next((each for each in _spellings(path) if each in wanted), None)
        if name is not None:
            candidates[name].append(path)
    found = {name: _one_of(name, paths) for name, paths in sorted(candidates.items())}
    missing = tuple(sorted(wanted - found.keys()))
    if not found:
        raise CohortInvalid(
            f"{folder} has none of the {len(missing)} slides of {cohort.name}: "
            f"{some(list(missing))}"
        )
    return MatchedSlides(found, missing)


def _spellings(path: Path) -> tuple[str, ...]:
    """Names of slides that a path may stand for, the longest first."""
    if path.is_dir():
        return (path.name,)
    if path.suffix.lower() not in SLIDE_SUFFIXES:
        return ()
    return path.name, path.stem, _UUID.sub("", path.stem)


def _one_of(name: str, paths: list[Path]) -> Path:
    files = [path for path in paths if path.is_file()] or paths
    if len(files) > 1:
        where = some([str(path) for path in files])
        raise CohortInvalid(f"slide {name} is there {len(files)} times: {where}")
    return files[0]
