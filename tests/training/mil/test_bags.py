"""Bags: packed as they are, checked at the door, subsampled by name and seed alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepsmile.errors import BagCorrupt, BundleMismatch, DeepSmileError, RequestInvalid
from deepsmile_training.mil.bags import Slide, pack, pad_bags, subsample

RNG = np.random.default_rng(0)
SIZES = (3, 1, 7, 4)
SLIDES = [
    Slide(f"slide{i}", f"patient{i // 2}", RNG.normal(size=(size, 2)).astype(np.float32))
    for i, size in enumerate(SIZES)
]


def test_a_batch_is_its_bags_padded() -> None:
    bags = pack(SLIDES)
    chosen = torch.tensor([2, 0, 1])
    features, mask = bags.batch(chosen)
    expected, expected_mask = pad_bags([torch.from_numpy(SLIDES[i].features) for i in chosen])
    assert torch.equal(mask, expected_mask)
    assert torch.equal(features[mask], expected[mask])
    assert features.shape == (3, 7, 2)
    assert bags.sizes.tolist() == list(SIZES)


def test_selected_bags_are_themselves() -> None:
    bags = pack(SLIDES).select([3, 1])
    assert bags.patients == ("patient1", "patient0")
    assert torch.equal(bags.features[:4], torch.from_numpy(SLIDES[3].features))
    assert bags.offsets.tolist() == [0, 4, 5]


def test_a_subsample_does_not_depend_on_the_others_or_their_order() -> None:
    """Section 4.2.2: fixed once."""
    forward = pack(SLIDES, tiles=3, seed=5)
    backward = pack(SLIDES[::-1], tiles=3, seed=5)
    alone = pack([SLIDES[2]], tiles=3, seed=5)
    assert forward.sizes.tolist() == [3, 1, 3, 3]
    assert torch.equal(forward.select([2]).features, alone.features)
    assert torch.equal(backward.select([1]).features, alone.features)


def test_a_subsample_is_seeded_sorted_and_uniform() -> None:
    rows = subsample(1000, 500, seed=0, name="a")
    assert np.array_equal(rows, subsample(1000, 500, seed=0, name="a"))
    assert (np.diff(rows) > 0).all()
    assert rows.mean() == pytest.approx(499.5, abs=40)  # three standard errors
    others = subsample(1000, 500, seed=1, name="a"), subsample(1000, 500, seed=0, name="b")
    for other in others:
        assert len(np.intersect1d(rows, other)) == pytest.approx(250, abs=40)


def test_a_patient_s_slides_may_be_one_bag() -> None:
    """RESOLUTIONS row 18; in the order of names, whatever the order given."""
    joined = pack(SLIDES[::-1], by_patient=True)
    assert joined.patients == ("patient1", "patient0")
    expected = np.concatenate([slide.features for slide in (*SLIDES[2:], *SLIDES[:2])])
    assert torch.equal(joined.features, torch.from_numpy(expected))
    assert pack(SLIDES, by_patient=True, tiles=5).sizes.tolist() == [4, 5]


BAD: dict[str, tuple[type[DeepSmileError], list[Slide], str]] = {
    "nan": (
        BagCorrupt,
        [SLIDES[0], replace(SLIDES[1], features=np.array([[1, np.nan]], np.float32))],
        "slide1",
    ),
    "infinite": (
        BagCorrupt,
        [replace(SLIDES[1], features=np.array([[1, np.inf]], np.float32))],
        "slide1",
    ),
    "another width": (
        BundleMismatch,
        [SLIDES[0], replace(SLIDES[1], features=np.zeros((2, 3), np.float32))],
        "slide1",
    ),
    "no tiles": (
        RequestInvalid,
        [SLIDES[0], replace(SLIDES[1], features=np.zeros((0, 2), np.float32))],
        "slide1",
    ),
    "twice": (RequestInvalid, [SLIDES[0], SLIDES[0]], "twice"),
    "none": (RequestInvalid, [], "no slides"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_slides_are_refused_by_name(case: str) -> None:
    error, slides, named = BAD[case]
    with pytest.raises(error, match=named):
        pack(slides)
