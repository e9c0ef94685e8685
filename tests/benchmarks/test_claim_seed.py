"""A small seed of the claim's benchmark: the construction is exact, the methods fare as told."""

from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from benchmarks import claim
from benchmarks.claim_figure import draw
from benchmarks.claim_slides import draw_mosaic, draw_mosaics, kinds_of, paint_mosaic
from benchmarks.claim_tiles import EXTRACTOR
from benchmarks.claim_tuned import unfolded
from deepsmile.bag import FeatureBag, save_bag
from deepsmile.settings import shipped_repository
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.encoders.encoder_file import find_encoder
from deepsmile_training.metrics import Estimate
from deepsmile_training.prepared.features import list_bags
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from deepsmile_training.synthetic.anatomy import TILE_UM, draw_anatomy
from tests.training.tilesets.conftest import no_stage

pytestmark = pytest.mark.slow
LABELS = ("heterogeneity", "cellularity")
TILES = 12
"""Of each bag that no slide is behind."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def _painted(folder: Path, *, heterogeneous: bool, large: bool) -> NDArray[np.uint8]:
    slide = draw_mosaic(7, heterogeneous=heterogeneous, cellular=True, large=large)
    path = folder / f"{heterogeneous}-{large}.svs"
    paint_mosaic(path, slide)
    return tifffile.imread(path, key=0)


def test_a_tile_of_a_heterogeneous_slide_is_to_the_byte_one_of_a_homogeneous_slide(
    tmp_path: Path,
) -> None:
    """So nothing in a tile tells the class: the same seed with other labels has the same tiles."""
    of_kind = [_painted(tmp_path, heterogeneous=False, large=large) for large in (False, True)]
    mixed = [_painted(tmp_path, heterogeneous=True, large=large) for large in (False, True)]
    slide = draw_mosaic(7, heterogeneous=True, cellular=True, large=False)
    kinds = kinds_of(slide, draw_anatomy(slide.spec))
    differing = 0
    for (row, column), kind in np.ndenumerate(kinds):
        x, y = column * TILE_UM, row * TILE_UM
        small, large, one, turned = (
            image[y : y + TILE_UM, x : x + TILE_UM] for image in (*of_kind, *mixed)
        )
        differing += not np.array_equal(small, large)
        assert np.array_equal(one, large if kind else small)
        assert np.array_equal(turned, small if kind else large)
    assert differing > 10


def test_half_of_the_slides_are_of_each_class_and_kind() -> None:
    slides = draw_mosaics(16, 0)
    for first in (True, False):
        chosen = [one for one in slides if one.spec.heterogeneous is first]
        assert sum(one.large for one in chosen) == sum(one.spec.cellular for one in chosen) == 4
    assert len({one.name for one in slides}) == 16


def test_an_unfolded_encoder_is_the_graph_s_equal() -> None:
    """In evaluation of any tiles, and in training of those that gave it its statistics."""
    graph, _ = find_encoder(shipped_repository(), EXTRACTOR)
    tiles = np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), np.uint8)
    tiles[3:] = tiles[3:] // 4 + 150
    session = onnxruntime.InferenceSession(graph)
    expected = session.run(None, {"tiles": tiles})[0]
    encoder = unfolded(graph, torch.from_numpy(tiles[1:5]))
    with torch.no_grad():
        np.testing.assert_allclose(encoder(torch.from_numpy(tiles)), expected, atol=1e-4)
        trained = encoder.train()(torch.from_numpy(tiles[1:5]))
    np.testing.assert_allclose(trained, expected[1:5], atol=2e-2)


def _prepared(root: Path, count: int) -> Prepared:
    """Bags as a simple encoder would give: size and cellularity have a direction each, and noise.

    The slide's own size varies four times as much as the kinds differ.
    """
    rng = np.random.default_rng(0)
    slides, (_, contract) = draw_mosaics(count, 0), find_encoder(shipped_repository(), EXTRACTOR)
    bags, width = root / "features" / EXTRACTOR, contract.encoder.feature_dim
    bags.mkdir(parents=True)
    size_is, cellular_is = rng.normal(size=(2, width))  # (D,) each
    cells = np.stack([np.arange(TILES), np.zeros(TILES)], axis=1).astype(np.int32)  # (N, 2)
    for slide in slides:
        mixed, large = slide.spec.heterogeneous, slide.large
        kinds = np.arange(TILES) % 2 if mixed else np.full(TILES, large)  # (N,)
        sizes = rng.uniform(-4, 4) + 2.0 * kinds - 1  # (N,)
        features = rng.normal(size=(TILES, width)) + np.outer(sizes, size_is)  # (N, D)
        features += 2 * slide.spec.cellular * cellular_is
        bag = FeatureBag(
            features.astype(np.float32), cells, (0, 0), (256, 256), "0" * 64, contract.digest
        )
        save_bag(bag, bags / f"{slide.name}.npz")
    list_bags(bags, contract, [slide.name for slide in slides], {})
    cohort = claim.cohort_of(slides)
    cohort.write(root / "cohort.json")
    make_split(cohort, SplitPlan(folds=3, labels=LABELS)).write(root / "split.json")
    return open_prepared(root)


def test_only_a_variance_tells_heterogeneity_and_all_methods_tell_a_mean(tmp_path: Path) -> None:
    prepared = _prepared(tmp_path, 120)

    tables = claim.tile_predictions(prepared, no_stage, starts=1)
    tables += claim.head_predictions(prepared, 1, no_stage, starts=1)
    table = pd.concat(tables, ignore_index=True)
    figures = {(one.label, one.method): one for one in claim.figures_of(table)}
    assert all(one.slides == 120 and len(one.folds) == 3 for one in figures.values())
    value = {key: one.pooled.value for key, one in figures.items()}
    assert value["heterogeneity", "VarMIL"] > 0.9
    assert value["heterogeneity", "DeepMIL"] < 0.8
    assert 0.25 < value["heterogeneity", claim.TILES] < 0.75
    assert min(value["cellularity", method] for method in claim.SHOWN) > 0.95
    gap = claim.compared(table, "heterogeneity", "VarMIL", claim.TILES)
    assert gap.difference.value == pytest.approx(
        value["heterogeneity", "VarMIL"] - value["heterogeneity", claim.TILES]
    )
    assert gap.p_value < 1e-4


def test_the_figure_is_small_and_repeats(tmp_path: Path) -> None:
    found = {
        (label, method): (Estimate(0.8, 0.7, 0.9), (0.75, 0.85))
        for label in LABELS
        for method in claim.SHOWN
    }
    for name in ("one", "other"):
        draw(found, 80, tmp_path / name / "claim.svg")
    one, other = ((tmp_path / name / "claim.svg").read_bytes() for name in ("one", "other"))
    assert one == other
    assert len(one) < 100_000
