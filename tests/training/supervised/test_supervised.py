"""The tile-supervised baseline: votes by eq. 4, full fine-tuning, choice by validation AUC."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder, on_fastest
from deepsmile_training.supervised.recipe import PRESETS, SupervisedRecipe
from deepsmile_training.supervised.training import (
    TileClassifier,
    Tiles,
    fit_tiles,
    predict_tiles,
    tile_auc,
    tune,
)
from deepsmile_training.supervised.voting import vote

PX = 32
RECIPE = SupervisedRecipe(learning_rate=1e-3, batch=16, epochs=3, evaluate_every=2, vote="mean")


def tiles_of(labels: list[int], start: int, per_slide: int = 6) -> Tiles:
    slides = np.arange(len(labels)).repeat(per_slide)  # (n,)
    patients = tuple(f"p{start + i}" for i in range(len(labels)))
    numbers = start * per_slide + np.arange(len(slides))
    return Tiles(painted().__getitem__, numbers, slides, patients, np.array(labels, np.int64))


@cache
def painted() -> RGB:
    """Bluer tiles for one class, redder ones for the other, plus noise."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1] * 4 + [1, 0] * 3, 6)  # (n,)
    colour = np.where(labels[:, None] == 1, [120, 60, 180], [180, 60, 120])  # (n, 3)
    noise = rng.normal(0, 30, (len(labels), PX, PX, 3))
    return np.clip(colour[:, None, None] + noise, 0, 255).astype(np.uint8)


TRAIN, VAL = tiles_of([0, 1] * 4, 0), tiles_of([1, 0] * 3, 8)


@pytest.fixture(scope="module")
def encoder() -> TileEncoder:
    return make_encoder("shufflenet_v2_x0_5", seed=0)


def slow_vote(p: NDArray[np.float64], slides: list[int], slide: int) -> float:
    """Eq. 4, tile by tile."""
    votes = [int(row[1] > row[0]) for row, of in zip(p, slides, strict=True) if of == slide]
    return sum(votes) / len(votes)


def test_the_share_of_positive_tiles_is_equation_4() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(40)  # (n,)
    p = np.stack([1 - positive, positive], axis=1)  # (n, 2)
    slides = rng.integers(0, 4, 40)  # (n,)
    names, found = vote(p, slides, ("b", "a", "b", "c"), "share")
    assert names == ("a", "b", "c")
    expected = [slow_vote(p, slides.tolist(), i) for i in range(4)]
    np.testing.assert_allclose(
        found[:, 1], [expected[1], (expected[0] + expected[2]) / 2, expected[3]]
    )


def test_the_mean_rule_averages_probabilities_and_keeps_what_a_share_rounds_away() -> None:
    p = np.array([[0.4, 0.6], [0.1, 0.9], [0.45, 0.55]])  # (3, 2)
    slides = np.array([0, 0, 1])
    _, share = vote(p, slides, ("a", "b"), "share")
    _, mean = vote(p, slides, ("a", "b"), "mean")
    assert share[:, 1].tolist() == [1.0, 1.0]
    np.testing.assert_allclose(mean[:, 1], [0.75, 0.55])


def test_a_slide_without_tiles_has_no_vote() -> None:
    names, _ = vote(np.array([[0.2, 0.8]]), np.array([1]), ("a", "b"), "share")
    assert names == ("b",)


@pytest.mark.slow
def test_all_layers_learn_and_the_best_evaluation_is_kept(encoder: TileEncoder) -> None:
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    fitted = fit_tiles(encoder, TRAIN, validation=VAL, recipe=RECIPE)
    first = next(encoder.backbone.parameters())
    tuned = next(fitted.classifier.encoder.backbone.parameters())
    assert not torch.equal(first, tuned), "the first layer is tuned too"
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items()), "a copy is"
    assert fitted.best == max(fitted.curve, key=lambda each: each.auc)
    assert [each.step for each in fitted.curve] == [2, 4, 6, 8, 9]
    again = tile_auc(predict_tiles(fitted.classifier, VAL), VAL, "mean")
    assert again == fitted.best.auc
    assert again > 0.95, "colour tells the classes apart"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(encoder: TileEncoder) -> None:
    short = RECIPE.model_copy(update={"epochs": 1})
    runs = [fit_tiles(encoder, TRAIN, validation=VAL, recipe=short, seed=s) for s in (3, 3, 4)]
    assert runs[0].curve == runs[1].curve
    assert runs[0].curve != runs[2].curve


@pytest.mark.slow
def test_a_batch_of_one_class_is_weighted_too(encoder: TileEncoder) -> None:
    """Section 4.2: of 24 tiles 18 are of class 0, and each of them weighs 24 / (2 x 18)."""
    rare = replace(tiles_of([0, 1, 0, 1], 0), y=np.array([0, 0, 0, 1]))
    step = RECIPE.model_copy(update={"batch": 2, "epochs": 1, "evaluate_every": 1})
    first = [
        fit_tiles(
            encoder, rare, validation=VAL, recipe=step.model_copy(update={"balanced": balanced})
        ).curve[0]
        for balanced in (True, False)
    ]
    assert first[0].loss / first[1].loss == pytest.approx(24 / 36)


def test_predictions_do_not_depend_on_the_batch(encoder: TileEncoder) -> None:
    classifier = TileClassifier(encoder, 2)
    one, many = (predict_tiles(classifier, VAL, size) for size in (1, 36))
    np.testing.assert_allclose(one, many, atol=1e-6)


class Elsewhere(TorchDispatchMode):
    """A device without numbers: its tensors meet none of the CPU's, and come back as zeros."""

    def __torch_dispatch__(self, op: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        named = named or {}
        if op is torch.ops.aten._local_scalar_dense.default and given[0].is_meta:
            return 0.0
        if op is torch.ops.aten._to_copy.default:
            (x,) = given
            back = x.is_meta and named.get("device") == torch.device("cpu")
            return torch.zeros(x.shape, dtype=x.dtype) if back else op(*given, **named)
        met = {x.device.type for x in tree_leaves(given) if isinstance(x, Tensor) and x.ndim}
        assert len(met) < 2, f"{op} of tensors on {met}"
        return op(*given, **named)


def test_all_is_computed_where_the_encoder_lies(encoder: TileEncoder) -> None:
    """As on a GPU: tiles, labels and weights of the classes go there, probabilities come back."""
    classifier = TileClassifier(deepcopy(encoder).to("meta"), 2)
    assert {part.device.type for part in classifier.parameters()} == {"meta"}
    with Elsewhere():
        assert list(tune(classifier, TRAIN, RECIPE, 2)) == [0.0] * 9
        p = predict_tiles(classifier, VAL)
    np.testing.assert_array_equal(p, np.zeros((len(VAL.numbers), 2)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_finds_what_a_cpu_does(encoder: TileEncoder) -> None:
    one_step = RECIPE.model_copy(update={"epochs": 1, "batch": 48})
    here, there = (
        fit_tiles(on, TRAIN, validation=VAL, recipe=one_step)
        for on in (encoder, on_fastest(deepcopy(encoder)))
    )
    assert there.classifier.encoder.device.type == "cuda"
    assert there.best.loss == pytest.approx(here.best.loss, rel=1e-2)
    found = [predict_tiles(each.classifier, VAL) for each in (here, there)]
    np.testing.assert_allclose(*found, atol=0.05)


def test_a_part_of_one_class_is_refused(encoder: TileEncoder) -> None:
    ones = replace(VAL, y=np.ones_like(VAL.y))
    with pytest.raises(RequestInvalid, match=r"validation: tiles of classes \[1\]"):
        fit_tiles(encoder, TRAIN, validation=ones, recipe=RECIPE)


def test_the_presets_are_the_paper_s() -> None:
    """Section 4.2.1."""
    breast, colon = PRESETS["paper-tcga-bc"], PRESETS["paper-tcga-crck"]
    assert (breast.learning_rate, breast.batch, breast.epochs) == (5e-5, 512, 4)
    assert (colon.learning_rate, colon.batch, colon.epochs) == (1e-6, 256, 50)
    assert breast.evaluate_every == colon.evaluate_every == 100
    assert (breast.tiles, colon.tiles, PRESETS["hissl"].tiles) == (500, None, None), "section 3.1.2"
    assert breast.vote == colon.vote == "share"
    assert PRESETS["hissl"].vote == "mean", "RESOLUTIONS row 20"
