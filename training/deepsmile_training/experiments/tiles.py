"""Tiles: what tile supervision sees of a prepared cohort's tile store."""

import numpy as np
from numpy.typing import NDArray

from deepsmile_training.cohorts.labels import FoldLabels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import Part
from deepsmile_training.mil.bags import subsample
from deepsmile_training.prepared.features import stored_slides
from deepsmile_training.prepared.prepared import Prepared
from deepsmile_training.supervised.training import Tiles
from deepsmile_training.tilesets.store import TileStore, open_store, read_store_file

FOLDER = "tiles"


def has_store(prepared: Prepared) -> bool:
    """Whether somebody began one; `tile_store` raises where it is not complete."""
    return read_store_file(prepared.root / FOLDER) is not None


def tile_store(prepared: Prepared) -> TileStore:
    """The tiles of its slides. Raises RequestInvalid where there are none."""
    return open_store(prepared.root / FOLDER)


def tiles_of(
    prepared: Prepared, labels: FoldLabels, part: Part, *, tiles: int | None = None, seed: int = 0
) -> Tiles:
    """A part's tiles, of the slides that the store has.

    A slide of more than `tiles` is subsampled once (paper section 3.1.2, RESOLUTIONS row 19), by
    its name and the seed alone.

    Raises:
        CohortInvalid: the store has none of the part's slides; or two patients share one.
    """
    store, patient_of = tile_store(prepared), prepared.cohort.patient_of_slide
    wanted = set(labels.patients(part))
    found = sorted((at, name) for name, at in stored_slides(prepared.cohort, store).items())
    chosen = [(at, name) for at, name in found if patient_of[name] in wanted]
    if not chosen:
        raise CohortInvalid(f"label {labels.label}: the tile store has no {part} slide")
    drawn = [_drawn(store, at, name, tiles=tiles, seed=seed) for at, name in chosen]
    slides = np.repeat(np.arange(len(chosen)), [len(each) for each in drawn])  # (n,)
    patients = tuple(patient_of[name] for _, name in chosen)
    y = np.array([labels.of[patient] for patient in patients], np.int64)  # (s,)
    return Tiles(store.read, np.concatenate(drawn), slides, patients, y)


def _drawn(
    store: TileStore, slide: int, name: str, *, tiles: int | None, seed: int
) -> NDArray[np.int64]:
    """Numbers of a slide's tiles in the store, of all or of those that are drawn."""
    numbers = np.arange(*np.searchsorted(store.slide_index, [slide, slide + 1]))  # (N,)
    if tiles is None or len(numbers) <= tiles:
        return numbers
    rows = subsample(len(numbers), tiles, seed=seed, name=name)  # (tiles,)
    drawn: NDArray[np.int64] = numbers[rows]  # (tiles,)
    return drawn
