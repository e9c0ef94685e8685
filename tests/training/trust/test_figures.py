"""What the promises came to on test slides: counted by `evaluate`, told by the card."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bag import FeatureBag
from deepsmile.bundle import Bundle, write_bundle
from deepsmile_training.demo.card import describe_trust
from deepsmile_training.evaluation import Figures, evaluate
from deepsmile_training.variants.bundle import head_places
from tests.making import FEATURE_DIM, make_bundle
from tests.reports import space_of, with_novelty

BOUNDS = (0.52, 0.55)
"""Negative up to, positive from."""
REDS = (-1.0, -0.2, 0.0, 0.1, 0.2, 0.5, 3.0)
"""What the tiny head sums up, from the palest slide to the reddest."""
LABELS = (0, 0, 1, 0, 1, 1, 1)


@pytest.fixture(scope="module")
def trusty(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with prediction sets, and a novelty that the reddest slide exceeds."""
    root = tmp_path_factory.mktemp("trusty")
    novel = with_novelty(make_bundle(root / "plain"), root, space_of(), at=9.5)
    file = json.loads((novel.root / "tiny.bundle.json").read_text())
    del file["digest"]
    file["contract"]["heads"][0]["conformal"] = {
        "coverage": 0.9,
        "negative_up_to": BOUNDS[0],
        "positive_from": BOUNDS[1],
        "basis": "40 negative and 40 positive validation predictions",
    }
    return write_bundle(novel.root, file)


def bag_of(red: float, bundle: Bundle) -> FeatureBag:
    features = np.full((3, FEATURE_DIM), 0.5, np.float32)
    features[:, 0] += red
    return FeatureBag(
        features=features,
        cells=np.zeros((3, 2), np.int32),
        origin_l0=(0.0, 0.0),
        step_l0=(1.0, 1.0),
        slide_sha256="5" * 64,
        features_digest=bundle.contract.features.digest,
    )


@pytest.fixture(scope="module")
def figures(trusty: Bundle) -> Figures:
    bags = [bag_of(red, trusty) for red in REDS]
    backend, head = OnnxBackend(trusty, threads=1), trusty.contract.heads[0]
    return evaluate(trusty, backend, head, bags, np.array(LABELS), seed=0)


def probability(red: float) -> float:
    """Of the tiny head: members sigmoid(red) and sigmoid(2 red), Platt 0.5 and 0.1."""
    raw = (1 / (1 + np.exp(-red)) + 1 / (1 + np.exp(-2 * red))) / 2
    return float(1 / (1 + np.exp(-(0.5 * np.log(raw / (1 - raw)) + 0.1))))


def test_sets_doubts_and_declined_slides_are_counted(figures: Figures) -> None:
    """One by one, by hand; a slide that would be declined counts in all other figures."""
    p = [probability(red) for red in REDS]
    negative = [value <= BOUNDS[0] for value in p]
    positive = [value >= BOUNDS[1] for value in p]
    assert figures.covered == {
        "pale": sum(n for n, label in zip(negative, LABELS, strict=True) if label == 0),
        "red": sum(q for q, label in zip(positive, LABELS, strict=True) if label == 1),
    }
    named = ["red" if value >= 0.5 else "pale" for value in p]
    alone = [
        (n, q) == ((name == "pale"), (name == "red"))
        for n, q, name in zip(negative, positive, named, strict=True)
    ]
    assert 0 < figures.uncertain == len(REDS) - sum(alone) < len(REDS)
    assert figures.declined == sum(abs(red) / 0.1 > 9.5 for red in REDS) == 2
    assert figures.slides == len(REDS)


def told(bundle: Bundle, figures: Figures, **changes: Any) -> str:
    changed = replace(figures, **changes).as_json()
    return " ".join(describe_trust(bundle.contract.heads[0], changed).split())


def test_the_card_tells_promises_and_what_they_came_to(trusty: Bundle, figures: Figures) -> None:
    text = told(trusty, figures, slides=60, positives=30, covered={"pale": 29, "red": 27})
    assert "the true class of 90% of the slides of either class" in text
    assert "29 of 30 pale (95% interval 83% to 100%) and 27 of 30 red" in text
    assert "pale up to a probability of 0.520, red from 0.550 on" in text
    assert f"gives no label: {figures.uncertain} of 60 test slides" in text
    assert "above 9.50 are declined, to be at most 1%" in text
    assert "On test: 2 of 60." in text
    assert "short of the promise" not in text


def test_the_card_says_where_a_promise_was_not_kept(trusty: Bundle, figures: Figures) -> None:
    """21 of 30 excludes 90 %: the exact interval is 51 % to 85 %."""
    text = told(trusty, figures, slides=60, positives=30, covered={"pale": 29, "red": 21})
    assert "21 of 30 red (95% interval 51% to 85%, short of the promise)" in text


def test_the_card_of_a_head_without_promises_says_so(figures: Figures, bundle: Bundle) -> None:
    text = told(bundle, figures, covered=None)
    assert "Prediction sets**: none" in text
    assert "Novelty**: not told" in text


def test_a_variant_takes_the_novelty_file_along(trusty: Bundle, bundle: Bundle) -> None:
    names = [place.as_posix() for place in head_places(trusty)]
    assert names == ["tiny_head/1/model.onnx", "tiny_head/1/novelty.npz"]
    assert head_places(bundle) == [Path("tiny_head/1/model.onnx")]
