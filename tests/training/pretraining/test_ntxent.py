"""NT-Xent against slow loops typed from the SimCLR paper's Algorithm 1."""

import math

import pytest
import torch
from torch import Tensor

from deepsmile_training.pretraining.distributed import World
from deepsmile_training.pretraining.ntxent import nt_xent


def algorithm_1(z: list[list[float]], tau: float) -> float:
    """Chen et al. 2020, Algorithm 1: z[2k - 1] and z[2k] (from 1) are the views of tile k."""
    many = len(z)

    def s(i: int, j: int) -> float:
        dot = sum(a * b for a, b in zip(z[i], z[j], strict=True))
        length = math.sqrt(sum(a * a for a in z[i])) * math.sqrt(sum(b * b for b in z[j]))
        return dot / length

    def ell(i: int, j: int) -> float:
        others = sum(math.exp(s(i, k) / tau) for k in range(many) if k != i)
        return -math.log(math.exp(s(i, j) / tau) / others)

    total = 0.0
    for k in range(many // 2):
        total += ell(2 * k, 2 * k + 1) + ell(2 * k + 1, 2 * k)
    return total / many


def slow(z: Tensor, tau: float) -> float:
    """`algorithm_1` of z (2, N, d)."""
    return algorithm_1(z.transpose(0, 1).flatten(0, 1).tolist(), tau)


@pytest.mark.parametrize("tau", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("tiles", [2, 3, 7])
def test_loss_is_algorithm_1(tiles: int, tau: float) -> None:
    """Chen et al. 2020, eq. 1."""
    z = 3 * torch.randn(2, tiles, 5, generator=torch.Generator().manual_seed(tiles))
    assert float(nt_xent(z, tau, World())) == pytest.approx(slow(z, tau), rel=1e-5)


def test_one_tile_alone_has_nothing_to_be_told_from() -> None:
    z = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(0))
    assert float(nt_xent(z, 0.5, World())) == 0 == slow(z, 0.5)


def test_gradient_is_that_of_finite_differences() -> None:
    z = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    torch.autograd.backward(nt_xent(z, 0.5, World()))
    step = 1e-3
    for place in [(0, 0, 0), (1, 2, 3), (0, 1, 2)]:
        moved = z.detach().double()
        moved[place] += step
        above = slow(moved, 0.5)
        moved[place] -= 2 * step
        slope = (above - slow(moved, 0.5)) / (2 * step)
        assert z.grad is not None
        assert float(z.grad[place]) == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_half_precision_embeddings_are_compared_in_single() -> None:
    """Under autocast, as in training, z comes as bfloat16 and products of matrices would be it."""
    z = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(z, 0.1, World())
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(slow(z.double(), 0.1), rel=1e-5)
