"""The probe: neighbours against loops, folds that keep groups whole, intervals over cases."""

from collections import Counter

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepsmile_training.encoders.probe import (
    STRENGTH,
    K,
    knn_correct,
    linear_correct,
    over_cases,
)

pytestmark = pytest.mark.slow


def slow_knn(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, k: int
) -> list[bool]:
    """One tile at a time."""
    told = []
    for i, query in enumerate(features):
        others = [
            (query @ other / np.linalg.norm(query) / np.linalg.norm(other), j)
            for j, other in enumerate(features)
            if (groups[i] != groups[j] if groups is not None else i != j)
        ]
        nearest = [str(labels[j]) for _, j in sorted(others, key=lambda pair: -pair[0])[:k]]
        votes = Counter(nearest)
        tied = [name for name in votes if votes[name] == max(votes.values())]
        told.append(min(tied, key=nearest.index) == labels[i])
    return told


@pytest.mark.parametrize("k", [1, 4, 20, 500])
@pytest.mark.parametrize("grouped", [False, True])
def test_neighbours_are_those_that_loops_find(k: int, grouped: bool) -> None:
    """Ties, among which k = 4 has many, go to the class of the nearest neighbour."""
    rng = np.random.default_rng(k)
    labels = rng.choice(np.array(["colon", "lung", "breast"]), 120)
    features = rng.normal(size=(120, 8)).astype(np.float32)
    features[:, 0] += 2 * (labels == "colon")
    groups = rng.choice(np.array(["a", "b", "c", "d"]), 120) if grouped else None
    expected = slow_knn(features, labels, groups, k)
    assert knn_correct(features, labels, groups, k).tolist() == expected
    assert 0.2 < np.mean(expected) < 0.9 or k == 500


def test_a_tile_with_no_tile_of_another_group_is_told_wrong() -> None:
    labels, groups = np.array(["a", "a"]), np.array(["one", "one"])
    assert not knn_correct(np.ones((2, 3), np.float32), labels, groups, K).any()


def by_case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that tell the case and nothing else; every case has one label."""
    cases = np.repeat(np.array([f"case {i}" for i in range(10)]), 30)
    centres = rng.normal(size=(10, 64))
    features = (centres.repeat(30, axis=0) + 0.1 * rng.normal(size=(300, 64))).astype(np.float32)
    return features, np.repeat(np.array(["x", "y"] * 5), 30), cases


def test_what_only_the_case_tells_is_no_skill() -> None:
    """Both probes are perfect while cases leak, and near or below chance when they do not."""
    features, labels, cases = by_case(np.random.default_rng(3))
    assert knn_correct(features, labels, None, K).mean() == 1.0
    assert linear_correct(features, labels, None, 0).mean() == 1.0
    assert knn_correct(features, labels, cases, K).mean() < 0.7
    assert linear_correct(features, labels, cases, 0).mean() < 0.7


def test_what_the_label_tells_is_skill_across_cases() -> None:
    features, labels, cases = by_case(np.random.default_rng(3))
    features[:, :32] += np.where(labels == "x", 3, -3)[:, None]
    assert knn_correct(features, labels, cases, K).mean() == 1.0
    assert linear_correct(features, labels, cases, 0).mean() > 0.95


def test_a_fold_that_knows_one_class_only_tells_that_one() -> None:
    labels, cases = np.array(["x"] * 6 + ["y"] * 4), np.array(["a"] * 6 + ["b"] * 4)
    assert not linear_correct(np.eye(10, dtype=np.float32), labels, cases, 0).any()


def test_intervals_resample_whole_cases() -> None:
    """Against means that are taken tile by tile."""
    correct = np.array([True] * 8 + [False] * 2 + [True, False, False])
    cases = np.array(["a"] * 10 + ["b", "c", "c"])
    found = over_cases(correct, cases, seed=4)
    drawn = np.random.default_rng(4).integers(3, size=(2000, 3))
    tiles = [correct[cases == name] for name in "abc"]
    means = [np.concatenate([tiles[i] for i in row]).mean() for row in drawn]
    assert found.value == pytest.approx(9 / 13)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]))


def test_one_case_has_no_interval() -> None:
    found = over_cases(np.array([True, False]), np.array(["a", "a"]), seed=0)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("tiles", [3, 4])
def test_fewer_tiles_than_folds_are_held_out_one_by_one(tiles: int) -> None:
    """Against a model for each tile."""
    rng = np.random.default_rng(0)
    labels = np.array(["x", "y", "x", "y"])[:tiles]
    features = rng.normal(size=(tiles, 6)) + 3 * (labels == "x")[:, None]  # (n, D)
    expected = []
    for i in range(tiles):
        others = np.delete(np.arange(tiles), i)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH))
        known = (
            model.fit(features[others], labels[others]) if len(set(labels[others])) > 1 else None
        )
        told = known.predict(features[i : i + 1])[0] if known else labels[others][0]
        expected.append(told == labels[i])
    assert linear_correct(features.astype(np.float32), labels, None, seed=0).tolist() == expected
