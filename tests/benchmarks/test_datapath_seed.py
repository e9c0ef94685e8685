"""A small seed of the data path's benchmark: it runs, and a claim lost by far is noticed."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import datapath
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.sources import find_images
from tests.making import tissue_image
from tests.training.tilesets.conftest import no_stage, press_in, write_image

pytestmark = pytest.mark.slow


def test_making_views_takes_not_much_more_than_decoding(tmp_path: Path) -> None:
    """2.3 x with one view and 3.6 with two when measured; whole batches took 17 and 34."""
    for tile in range(8):
        path = tmp_path / "images" / "slide" / f"{tile}.jpg"
        write_image(path, tissue_image(224, 224, seed=tile, tissue=1.2))
    found = find_images([tmp_path / "images"], None)
    store = pack(found, press_in(tmp_path / "store"), no_stage)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    one, two = np.median(datapath.measure(store, rounds=3, batch=32).ratios, axis=0)
    assert 1 < one < two < 9


def test_each_number_of_views_has_its_verdict() -> None:
    rates = datapath.Rates(np.array([300.0, 600.0, 900.0]), np.full((3, 2), [200.0, 100.0]))
    read, one, two = datapath.lines_of(rates, "files", cores=2)
    assert read == "files: 1200 tiles/s read on 2 cores"
    assert "1 view(s) of each 400 tiles/s" in one
    assert one.endswith("3.0 x as fast (1.5 to 4.5), goal 3: reached")
    assert two.endswith("6.0 x as fast (3.0 to 9.0), goal 3: NOT REACHED")
