"""Predictions that the evidence tests share."""

import numpy as np

from deepsmile_training.evidence.predictions import TestPredictions, ValidationPredictions


def validation(p: np.ndarray, y: np.ndarray) -> ValidationPredictions:
    return ValidationPredictions.numbered(p, y)


def drawn(n: int, seed: int, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident probabilities (n,) that rank well, and labels (n,), 3 in 10 positive."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(np.int64)
    margin = rng.normal(0, 1, n) + skill * (y - 0.5)
    return 1 / (1 + np.exp(-3 * margin)), y


def drawn_validation(n: int = 300, seed: int = 1, skill: float = 1.5) -> ValidationPredictions:
    p, y = drawn(n, seed, skill)
    return ValidationPredictions(tuple(f"v{i}" for i in range(n)), y, p)


def drawn_test(n: int = 300, seed: int = 2, skill: float = 1.5) -> TestPredictions:
    p, y = drawn(n, seed, skill)
    sex = tuple("female" if i % 2 else "male" for i in range(n))
    site = tuple("rare" if i < 8 else "common" for i in range(n))
    subgroups = {"sex": sex, "site": site}
    return TestPredictions(tuple(f"t{i}" for i in range(n)), y, p, subgroups)
