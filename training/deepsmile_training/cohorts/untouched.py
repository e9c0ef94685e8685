"""Untouched: patients whom no encoder may be pre-trained on, told by the names of their slides.

Names are hashed, so that an encoder can say whom it has seen without naming anybody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deepsmile.digest import digest_of
from deepsmile.errors import RequestInvalid
from deepsmile_training.cohorts.cohort import Cohort, load_cohort
from deepsmile_training.cohorts.slides import spellings
from deepsmile_training.cohorts.splits import Split, load_split


@dataclass(frozen=True)
class Untouched:
    """The test patients of a split (paper Algorithm 1, RESOLUTIONS row 17)."""

    cohort: Cohort
    patients: frozenset[str]

    def has(self, slide: Sequence[str]) -> bool:
        """Whether a slide, as `hashed_slide` has it, is of one of them."""
        return self._patient_of(slide) in self.patients

    def count(self, slides: Iterable[Sequence[str]]) -> int:
        """How many of them have one of these slides."""
        return len(self.patients.intersection(map(self._patient_of, slides)))

    def _patient_of(self, slide: Sequence[str]) -> str:
        """Whose it is: by its own name, or by its case where the cohort does not list it."""
        name, case = slide
        return self._by_slide.get(name) or self._by_name.get(case, "")

    @cached_property
    def _by_slide(self) -> dict[str, str]:
        return {_hashed(slide): name for slide, name in self.cohort.patient_of_slide.items()}

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return {_hashed(name): name for name in self.cohort.by_name}


def untouched_by(cohort: Cohort, split: Split, fold: int | None = None) -> Untouched:
    """The patients whom a fold tests, or any. Raises RequestInvalid if there is no such fold."""
    if fold is not None and not 0 <= fold < len(split.folds):
        raise RequestInvalid(
            f"no fold {fold}: the split has {len(split.folds)}", hint="They are counted from 0."
        )
    folds = split.folds if fold is None else [split.folds[fold]]
    return Untouched(cohort, frozenset(name for one in folds for name in one.test))


def untouched_in(folder: Path, fold: int | None = None) -> Untouched:
    """The same of a prepared cohort's folder."""
    cohort = load_cohort(folder / "cohort.json")
    return untouched_by(cohort, load_split(folder / "split.json", cohort), fold)


def hashed_slide(name: str, case: str) -> tuple[str, str]:
    """A slide and its case, however the file was called."""
    return _hashed(name), _hashed(case)


def _hashed(name: str) -> str:
    return digest_of(spellings(name)[-1])[:16]
