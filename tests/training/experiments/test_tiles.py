"""Which tiles tile supervision sees: all of a slide, or as many as are drawn once."""

import json
from pathlib import Path

import numpy as np
import pytest

from deepsmile_training.cohorts.splits import PARTS, Part
from deepsmile_training.experiments.cells import TileCell, labels_of, run_cell
from deepsmile_training.experiments.grids import grid_of
from deepsmile_training.experiments.tiles import tile_store, tiles_of
from deepsmile_training.experiments.wish import Wish
from deepsmile_training.mil.bags import subsample
from deepsmile_training.prepared.prepared import Prepared
from deepsmile_training.supervised.recipe import SupervisedRecipe
from tests.training.cohorts.tables import UUID
from tests.training.experiments.conftest import copied

pytestmark = pytest.mark.slow

PER_SLIDE = 2


def cell(tiles: int | None, **changes: object) -> TileCell:
    config = SupervisedRecipe(batch=4, epochs=1, tiles=tiles).model_copy(update=changes)
    return TileCell(extractor="SimCLR", label="hrd", fold=0, config=config)


def seen(prepared: Prepared, tiles: int | None, seed: int = 0) -> dict[str, list[int]]:
    """Patient -> which of its slide's tiles, of every part."""
    store, labels = tile_store(prepared), labels_of(prepared, cell(None))
    starts = {slide.name: PER_SLIDE * i for i, slide in enumerate(store.slides)}
    found: dict[str, list[int]] = {}
    for part in PARTS:
        chosen = tiles_of(prepared, labels, part, tiles=tiles, seed=seed)
        assert set(chosen.patients) == set(labels.patients(part))
        for number, slide in zip(chosen.numbers.tolist(), chosen.slides.tolist(), strict=True):
            patient = chosen.patients[slide]
            (name,) = prepared.cohort.by_name[patient].slides
            found.setdefault(patient, []).append(number - starts[name])
    return found


@pytest.mark.parametrize("tiles", [None, PER_SLIDE, 500])
def test_a_slide_of_no_more_is_seen_whole(prepared: Prepared, tiles: int | None) -> None:
    found = seen(prepared, tiles)
    assert set(found) == {patient.name for patient in prepared.cohort.patients}
    assert all(each == list(range(PER_SLIDE)) for each in found.values())


def test_of_a_slide_of_more_some_are_drawn_by_its_name(prepared: Prepared) -> None:
    """Section 3.1.2, RESOLUTIONS row 19: once, so the same whatever else is seen."""
    for seed in (0, 7):
        for patient, found in seen(prepared, 1, seed).items():
            (name,) = prepared.cohort.by_name[patient].slides
            assert found == subsample(PER_SLIDE, 1, seed=seed, name=name).tolist()
    assert len({each[0] for each in seen(prepared, 1).values()}) == PER_SLIDE
    assert seen(prepared, 1) != seen(prepared, 1, seed=7)


def test_a_recipe_s_tiles_are_those_that_are_trained_on(prepared: Prepared, tmp_path: Path) -> None:
    """The only evaluation is after the last step, and of half as many tiles there are half."""
    slides = len(prepared.split.folds[0].train)
    steps = [run_cell(prepared, cell(tiles), tmp_path).best_step for tiles in (None, 1)]
    assert steps == [np.ceil(PER_SLIDE * slides / 4), np.ceil(slides / 4)]


def test_slides_as_the_gdc_delivers_them_make_the_same_rows(
    prepared: Prepared, tmp_path: Path
) -> None:
    """The store has BARCODE.UUID and the cohort BARCODE (Table 2 of TCGA-BC)."""
    made = copied(prepared, tmp_path / "prepared")
    file = made.root / "tiles" / "store.json"
    content = json.loads(file.read_text())
    for slide in content["slides"]:
        slide["name"] = f"{slide['name']}.{UUID}"
    file.unlink()
    file.write_text(json.dumps(content))

    def tiles(of: Prepared, part: Part) -> list[object]:
        its = tiles_of(of, labels_of(of, cell(None)), part, tiles=1)
        return [its.patients, its.numbers.tolist(), its.y.tolist()]

    assert tile_store(made).slides[0].name == f"s00.{UUID}"
    for part in PARTS:
        assert tiles(made, part) == tiles(prepared, part)
    wish = Wish(labels=("hrd",), extractors=("SimCLR",))
    assert grid_of("2", made, wish).rows == grid_of("2", prepared, wish).rows
    assert "SimCLR, tile-supervised" in grid_of("2", made, wish).rows
