"""Stores of real slides and real tile images, where ../shared/data is there."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from deepsmile_training.tilesets.manifest import read_manifest
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.recipe import slide_rules
from deepsmile_training.tilesets.sources import find_images, find_slides
from tests.training.tilesets.conftest import no_stage, press_in

ROOT = Path(__file__).parents[3] / ".." / "shared" / "data"
TILES = ROOT / "ssl_tiles"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROOT.is_dir(), reason="../shared/data is not in a clone of the project"),
]


def test_2492_real_tiles_are_packed_as_they_are(tmp_path: Path) -> None:
    manifest = read_manifest(TILES / "slides.csv")
    store = pack(find_images([TILES], manifest), press_in(tmp_path / "store", workers=2), no_stage)
    assert (len(store), len(store.slides)) == (2492, 18)
    assert store.file.dropped == ()
    assert len({slide.case for slide in store.slides}) == 8
    for row in manifest.rows:
        stored = next(slide for slide in store.slides if slide.name == row.slide)
        assert str(stored.tiles) == row.labels["n_tiles"] == stored.labels["n_tiles"]
        assert stored.case == row.case
    for number in range(0, len(store), 97):
        slide = store.slides[store.slide_index[number]].name
        image = cv2.imread(str(TILES / "tiles" / slide / str(store.names[number])))
        assert image is not None
        assert np.array_equal(store[number], image[..., ::-1])


def test_real_slides_are_packed_or_listed_with_what_serving_says(tmp_path: Path) -> None:
    """As in tests/real/test_real_slides.py: the same tiles, the same reasons."""
    press = press_in(tmp_path / "store", encoding="raw", rules=slide_rules(max_tiles=6))
    store = pack(find_slides([ROOT / "wsi"], None), press, no_stage)
    assert {slide.name: slide.tiles for slide in store.slides} == {
        "cmu-1-small-region": 6,
        "cmu-1-small-region.ome": 6,
        "cmu-1-small-region_bigtiff-lzw": 6,
        "cmu-1-small-region_dicom": 6,
        "cmu-1-small-region_generic-pyramid": 6,
        "insidious-lymph-node-metastasis_HE_aperio-style": 6,
    }
    assert {one.slide: one.code for one in store.file.dropped} == {
        "broken": "slide_unsupported",
        "cmu-1-small-region_flat-striped": "slide_unsupported",
        "highdicom_sm": "slide_unsupported",
        "kidney-48-5": "slide_unsupported",
        "tcga-cr-7395-01a-01-ts1": "mpp_missing",
        "test3-TRITC_2__560_": "not_he",
    }
