"""TransMIL against a slow oracle of one bag, typed from Shao et al. 2021."""

import math

import numpy as np
import pytest
import torch

from deepsmile.errors import RequestInvalid
from deepsmile_training.mil.ensemble import Ensemble, export_ensemble
from tests.training.mil.conftest import WIDTH, make_head


def norm(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attention(x: np.ndarray, w: dict[str, np.ndarray], name: str, heads: int) -> tuple:
    """Every step to every step: change (L, W), weights (heads, L, L)."""
    q, k, v = np.split(linear(norm(x, w, f"{name}.norm"), w, f"{name}.queries_keys_values"), 3, 1)
    size = x.shape[1] // heads
    mixed, weights = np.zeros_like(x), []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
        weights.append(scores / scores.sum(axis=1, keepdims=True))
        mixed[:, part] = weights[-1] @ v[:, part]
    return linear(mixed, w, f"{name}.join"), np.array(weights)


def ppeg(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """Three depthwise convolutions over the square, and what was there."""
    side = math.isqrt(len(x))
    out = x.copy()
    for number, size in enumerate((7, 5, 3)):
        kernel = w[f"position.convolutions.{number}.weight"]  # (W, 1, size, size)
        for row in range(side):
            for column in range(side):
                total = w[f"position.convolutions.{number}.bias"].copy()
                for i in range(size):
                    for j in range(size):
                        r, c = row + i - size // 2, column + j - size // 2
                        if 0 <= r < side and 0 <= c < side:
                            total += kernel[:, 0, i, j] * x[r * side + c]
                out[row * side + column] += total
    return out


@pytest.mark.parametrize("tiles", [1, 2, 5, 9, 11])
def test_the_module_is_the_paper_s_network(tiles: int) -> None:
    head = make_head("transmil").double()
    w = {name: p.detach().numpy() for name, p in head.state_dict().items()}
    bag = torch.randn(tiles, WIDTH, dtype=torch.float64)
    logits, a = head(bag[None], torch.ones(1, tiles, dtype=torch.bool))

    x = np.maximum(linear((bag.numpy() - w["mean"]) / w["deviation"], w, "reduce"), 0)
    side = math.ceil(math.sqrt(tiles))
    x = np.concatenate([x, x[: side**2 - tiles]])
    x = np.concatenate([w["token"][0], x])
    x = x + attention(x, w, "first", 2)[0]
    x[1:] = ppeg(x[1:], w)
    change, weights = attention(x, w, "last", 2)
    expected = linear(norm(x + change, w, "norm")[0], w, "classify")
    np.testing.assert_allclose(logits.detach().numpy()[0], expected, atol=1e-10)

    of_step = weights[:, 0, 1:].mean(axis=0)
    of_tile = of_step[:tiles].copy()
    of_tile[: side**2 - tiles] += of_step[tiles:]
    np.testing.assert_allclose(a.detach().numpy()[0], of_tile / of_tile.sum(), atol=1e-12)


def test_neighbours_in_the_square_matter() -> None:
    """What the heads that pool cannot see."""
    head = make_head("transmil")
    bag, mask = torch.randn(1, 9, WIDTH), torch.ones(1, 9, dtype=torch.bool)
    assert not torch.allclose(head(bag, mask)[0], head(bag.flip(1), mask)[0], atol=1e-4)


def test_it_is_not_exported(tmp_path) -> None:
    with pytest.raises(RequestInvalid, match="TransMIL"):
        export_ensemble(Ensemble([make_head("transmil")]), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
