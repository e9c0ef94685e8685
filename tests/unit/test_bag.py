"""Bag: features that know where they lie and under which contract they were made."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepsmile.bag import FeatureBag, check_contract, in_reading_order, load_bag, save_bag
from deepsmile.errors import BagCorrupt, BundleMismatch

DIGEST = "d" * 64


def bag_of(tiles: int, seed: int = 0, dim: int = 5) -> FeatureBag:
    rng = np.random.default_rng(seed)
    return FeatureBag(
        features=rng.normal(size=(tiles, dim)).astype(np.float32),
        cells=rng.integers(0, 99, (tiles, 2)).astype(np.int32),
        origin_l0=(10.5, 0.1),
        step_l0=(512.0, 1024 / 3),
        slide_sha256="5" * 64,
        features_digest=DIGEST,
    )


@pytest.mark.parametrize("tiles", [0, 1, 1000])
def test_a_bag_comes_back_bit_for_bit(tmp_path: Path, tiles: int) -> None:
    bag = bag_of(tiles)
    save_bag(bag, tmp_path / "bag.npz")
    again = load_bag(tmp_path / "bag.npz", DIGEST)
    assert again.features.tobytes() == bag.features.tobytes()
    assert again.cells.tobytes() == bag.cells.tobytes()
    assert (again.features.shape, again.features.dtype) == ((tiles, 5), np.float32)
    assert (again.cells.shape, again.cells.dtype) == ((tiles, 2), np.int32)
    for field in ("origin_l0", "step_l0", "slide_sha256", "features_digest"):
        assert getattr(again, field) == getattr(bag, field)


def test_a_bag_of_another_contract_is_refused(tmp_path: Path) -> None:
    """HOUSE STYLE 10: mismatch raises; it never warns."""
    save_bag(bag_of(3), tmp_path / "bag.npz")
    with pytest.raises(BundleMismatch, match="contract dddddddddddd, not eeeeeeeeeeee"):
        load_bag(tmp_path / "bag.npz", "e" * 64)


def test_two_contracts_that_differ_in_the_last_letter_are_two(tmp_path: Path) -> None:
    with pytest.raises(BundleMismatch):
        check_contract(bag_of(1), DIGEST[:-1] + "c")


def test_a_write_that_breaks_off_leaves_the_old_bag(tmp_path: Path) -> None:
    """A reader sees the old file or the new one, never half of it: here the disk is full."""
    path = tmp_path / "bag.npz"
    save_bag(bag_of(3, seed=1), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_bag(bag_of(10_000, seed=2), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    np.testing.assert_array_equal(load_bag(path, DIGEST).features, bag_of(3, seed=1).features)
    assert [path.name for path in tmp_path.iterdir()] == ["bag.npz"]


@pytest.mark.slow
def test_a_bag_with_any_byte_changed_is_the_same_bag_or_a_corrupt_one(tmp_path: Path) -> None:
    """Zip keeps a checksum of the arrays; what it does not cover (dates) does not matter."""
    path, bag = tmp_path / "bag.npz", bag_of(3)
    save_bag(bag, path)
    good, refused = path.read_bytes(), 0
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xA5]) + good[place + 1 :])
        try:
            again = load_bag(path, DIGEST)
        except BagCorrupt:
            refused += 1
        else:
            assert again.features.tobytes() == bag.features.tobytes()
            assert again.cells.tobytes() == bag.cells.tobytes()
            assert again.step_l0 == bag.step_l0
    assert refused > len(good) / 2


@pytest.mark.slow
def test_a_bag_cut_short_anywhere_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "bag.npz"
    save_bag(bag_of(3), path)
    good = path.read_bytes()
    for size in range(len(good)):
        path.write_bytes(good[:size])
        with pytest.raises(BagCorrupt):
            load_bag(path, DIGEST)


GOOD: dict[str, Any] = {
    "features": np.zeros((3, 5), np.float32),
    "cells": np.zeros((3, 2), np.int32),
    "meta": np.array('{"origin_l0":[0,0],"step_l0":[1,1],"slide_sha256":"","features_digest":""}'),
}


@pytest.mark.parametrize(
    "other",
    [
        {"features": np.zeros((3, 5))},
        {"features": np.zeros(3, np.float32)},
        {"features": np.zeros((4, 5), np.float32)},
        {"cells": np.zeros((3, 3), np.int32)},
        {"cells": np.zeros((3, 2))},
        {"meta": np.array("{}")},
        {"meta": np.array("no JSON")},
        {"meta": np.array(str(GOOD["meta"]).replace("[0,0]", "[0]"))},
        {"meta": np.array("[]")},
    ],
    ids=str,
)
def test_arrays_that_make_no_bag_are_corrupt(tmp_path: Path, other: dict[str, Any]) -> None:
    np.savez(tmp_path / "bag.npz", **{**GOOD, **other})
    with pytest.raises(BagCorrupt, match=r"^bag\.npz: "):
        load_bag(tmp_path / "bag.npz", "")


def test_a_file_that_is_not_there_is_not_called_corrupt(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_bag(tmp_path / "bag.npz", DIGEST)


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    for seed in (1, 2):
        save_bag(bag_of(3, seed=seed), tmp_path / "bag.npz")
    np.testing.assert_array_equal(
        load_bag(tmp_path / "bag.npz", DIGEST).features, bag_of(3, seed=2).features
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bag.npz"]


def test_corners_are_the_origin_plus_cells_times_steps() -> None:
    bag = FeatureBag(
        features=np.zeros((2, 1), np.float32),
        cells=np.array([[0, 0], [2, 3]], np.int32),
        origin_l0=(10.0, 20.0),
        step_l0=(512.0, 500.5),
        slide_sha256="",
        features_digest="",
    )
    assert bag.corners_l0.tolist() == [[10.0, 20.0], [1034.0, 1521.5]]


def test_batches_are_joined_row_by_row() -> None:
    """Whatever the order of reading, a bag's order is the grid's: row, then column."""
    cells = [np.array([[1, 1], [0, 2]], np.int32), np.array([[5, 0], [0, 1]], np.int32)]
    features = [np.array([[1.0], [2.0]], np.float32), np.array([[3.0], [4.0]], np.float32)]
    joined, places = in_reading_order(features, cells, 1)
    assert places.tolist() == [[5, 0], [0, 1], [1, 1], [0, 2]]
    assert joined.tolist() == [[3.0], [4.0], [1.0], [2.0]]


def test_no_batches_make_an_empty_bag_of_the_right_width() -> None:
    features, cells = in_reading_order([], [], 7)
    assert (features.shape, features.dtype) == ((0, 7), np.float32)
    assert (cells.shape, cells.dtype) == ((0, 2), np.int32)
