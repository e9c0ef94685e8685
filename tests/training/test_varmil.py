"""VarMIL, paper eqs 5-10, against the paper's own numbers and a slow oracle."""

import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from deepsmile_training.mil.bags import pad_bags
from deepsmile_training.mil.ensemble import Ensemble
from deepsmile_training.mil.heads import NU, VarMIL
from deepsmile_training.mil.pooling import attention_mean, attention_variance
from tests.training.conftest import FEATURE_DIM

SIZES = (1, 2, 3, 17, 500, 20_000)


@pytest.mark.parametrize(
    ("z", "a", "mean", "deviation"),
    [
        ([1, 1, 1, 3, 3, 0], [0.17, 0.17, 0.17, 0.245, 0.245, 0], 1.98, 1.1178),
        ([2, 2, 2, 2, 1, 0], [0.22, 0.22, 0.22, 0.22, 0.12, 0], 1.88, 0.3633),
    ],
)
def test_appendix_a_comes_out_when_only_weighted_tiles_count(z, a, mean, deviation) -> None:
    """Appendix A as RESOLUTIONS row 5 repairs it: I counts the five non-zero weights."""
    features = torch.tensor(z, dtype=torch.float64).view(1, -1, 1)
    weights = torch.tensor(a, dtype=torch.float64).view(1, -1)
    variance = attention_variance(features, weights, weights > 0)
    assert attention_mean(features, weights).item() == pytest.approx(mean, abs=1e-9)
    assert math.sqrt(variance.item()) == pytest.approx(deviation, abs=5e-5)


def oracle(member: VarMIL, bag: np.ndarray) -> tuple[list[float], list[float]]:
    """Eqs 5-10 for one bag (I, H), typed from the paper with loops, in float64."""
    weights = {name: p.detach().double().numpy() for name, p in member.named_parameters()}
    mean, deviation = member.mean.double().numpy(), member.deviation.double().numpy()
    tiles, width = bag.shape
    z = [[(bag[i, h] - mean[h]) / deviation[h] for h in range(width)] for i in range(tiles)]
    scores = []
    for i in range(tiles):  # eq. 5
        hidden = [
            math.tanh(
                sum(weights["hidden.weight"][k, h] * z[i][h] for h in range(width))
                + weights["hidden.bias"][k]
            )
            for k in range(len(weights["hidden.bias"]))
        ]
        score = sum(w * t for w, t in zip(weights["weigh.weight"][0], hidden, strict=True))
        scores.append(score + weights["weigh.bias"][0])
    exponentials = [math.exp(s - max(scores)) for s in scores]
    a = [e / sum(exponentials) for e in exponentials]
    z_mean = [sum(a[i] * z[i][h] for i in range(tiles)) for h in range(width)]  # eq. 6
    factor = tiles / (tiles - 1) if tiles > 1 else 0.0
    z_var = [  # eq. 8
        factor * sum(a[i] * (z[i][h] - z_mean[h]) ** 2 for i in range(tiles)) for h in range(width)
    ]
    joined = z_mean + z_var  # eq. 9
    logits = [  # eq. 10, before the softmax
        sum(w * v for w, v in zip(row, joined, strict=True)) + bias
        for row, bias in zip(weights["classify.weight"], weights["classify.bias"], strict=True)
    ]
    return logits, a


def small_member(seed: int = 0, width: int = 5) -> VarMIL:
    torch.manual_seed(seed)
    member = VarMIL(width, nu=7)
    member.standardise_for(torch.randn(20, width) * 3 + 1)
    return member.eval()


@pytest.mark.parametrize("tiles", [1, 2, 3, 9])
def test_the_module_is_the_paper_s_equations(tiles) -> None:
    """Eqs 5-10, in float64."""
    member = small_member().double()
    bag = torch.randn(tiles, 5, dtype=torch.float64)
    logits, attention = member(bag[None], torch.ones(1, tiles, dtype=torch.bool))
    expected_logits, expected_attention = oracle(member, bag.numpy())
    np.testing.assert_allclose(logits.detach().numpy()[0], expected_logits, atol=1e-12)
    np.testing.assert_allclose(attention.detach().numpy()[0], expected_attention, atol=1e-12)


def test_the_attention_is_as_wide_as_the_paper_s() -> None:
    """Section 4.2.2: nu = 128, W_1 is (nu, H), W_2 (1, nu), W_psi (2, 2 H)."""
    member = VarMIL(FEATURE_DIM)
    shapes = {name: tuple(p.shape) for name, p in member.named_parameters()}
    assert NU == 128
    assert shapes["hidden.weight"] == (128, FEATURE_DIM)
    assert shapes["weigh.weight"] == (1, 128)
    assert shapes["classify.weight"] == (2, 2 * FEATURE_DIM)


def test_weights_are_he_initialised() -> None:
    """Section 4.2.2, RESOLUTIONS row 9: sd sqrt(2 / fan in), biases 0."""
    torch.manual_seed(0)
    member = VarMIL(FEATURE_DIM)
    assert member.hidden.weight.std().item() == pytest.approx((2 / FEATURE_DIM) ** 0.5, rel=0.02)
    assert not member.hidden.bias.any()


def test_one_tile_has_variance_zero_and_finite_gradients() -> None:
    """RESOLUTIONS row 3: eq. 8 is 0/0 for one tile; here it is 0, and so it learns."""
    member = small_member()
    features = torch.randn(1, 1, 5, requires_grad=True)
    mask = torch.ones(1, 1, dtype=torch.bool)
    a = member.attend(features, mask)
    assert torch.equal(attention_variance(features, a, mask), torch.zeros(1, 5))
    logits, _ = member(features, mask)
    torch.autograd.backward(logits.sum())
    gradients = [features.grad, *(p.grad for p in member.parameters())]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_padding_changes_nothing() -> None:
    """RESOLUTIONS row 6: masked tiles get no attention and do not count in I."""
    member = small_member()
    bags = [torch.randn(n, 5) for n in (1, 4, 9)]
    padded_logits, padded_attention = member(*pad_bags(bags))
    for bag, logits, attention in zip(bags, padded_logits, padded_attention, strict=True):
        alone, a = member(*pad_bags([bag]))
        torch.testing.assert_close(logits, alone[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(attention[: len(bag)], a[0], atol=1e-7, rtol=0)
        assert not attention[len(bag) :].any()


def test_what_stands_in_the_padding_does_not_matter() -> None:
    """RESOLUTIONS row 6: nor would zeros, which standardising turns into something else."""
    member = small_member()
    features, mask = pad_bags([torch.randn(3, 5), torch.randn(8, 5)])
    littered = features.masked_fill(~mask.unsqueeze(2), 1e4)
    for one, other in zip(member(features, mask), member(littered, mask), strict=True):
        assert torch.equal(one, other)


def test_padded_bags_of_one_tile_have_finite_gradients() -> None:
    member = small_member()
    logits, _ = member(*pad_bags([torch.randn(1, 5), torch.randn(6, 5)]))
    torch.autograd.backward(logits.square().sum())
    assert all(torch.isfinite(p.grad).all() for p in member.parameters())


def test_an_underflown_weight_still_counts_as_a_tile() -> None:
    """RESOLUTIONS row 3: I comes from the mask, not from a != 0."""
    z, a = torch.tensor([[[0.0], [2.0], [9.0]]]), torch.tensor([[0.5, 0.5, 0.0]])
    variance = attention_variance(z, a, torch.ones(1, 3, dtype=torch.bool))
    assert variance.item() == pytest.approx(3 / 2 * 1.0)


def test_the_order_of_tiles_does_not_matter() -> None:
    """Section 4.2.2: permutation-invariant."""
    member = small_member()
    bag = torch.randn(30, 5)
    order = torch.randperm(30)
    logits, attention = member(*pad_bags([bag]))
    shuffled_logits, shuffled = member(*pad_bags([bag[order]]))
    torch.testing.assert_close(shuffled_logits, logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(shuffled[0], attention[0, order], atol=1e-7, rtol=0)


def test_a_constant_feature_is_centred_and_not_divided_by_zero() -> None:
    member = VarMIL(2)
    member.standardise_for(torch.tensor([[3.0, 1.0], [3.0, 5.0]]))
    assert member.mean.tolist() == [3.0, 3.0]
    assert member.deviation.tolist() == [1.0, 2.0]


@pytest.fixture(scope="module")
def session(ensemble_path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(ensemble_path, providers=["CPUExecutionProvider"])


@pytest.mark.slow
@pytest.mark.parametrize("tiles", SIZES)
def test_onnx_runtime_agrees_with_torch(tiles, ensemble: Ensemble, session) -> None:
    """One graph for any number of tiles, to 1e-5; attention, which is small, to 1e-5 of itself.

    Torch in double precision: in single its own sums of 20,000 tiles are off by more on some CPUs.
    """
    generator = torch.Generator().manual_seed(tiles)
    features = torch.rand(tiles, FEATURE_DIM, generator=generator) * 2
    with torch.no_grad():
        logits, attention = deepcopy(ensemble).double()(features.double())
    found, weights = session.run(["logits", "attention"], {"features": features.numpy()})
    assert found.shape == (3, 2)
    assert weights.shape == (3, tiles)
    assert np.isfinite(found).all()  # one tile: variance 0, not NaN
    np.testing.assert_allclose(found, logits.numpy(), atol=1e-5, rtol=0)
    np.testing.assert_allclose(weights, attention.numpy(), atol=0, rtol=1e-5)


@pytest.mark.slow
def test_the_exported_ensemble_is_its_members(ensemble: Ensemble, session) -> None:
    features = torch.rand(40, FEATURE_DIM)
    found, _ = session.run(["logits", "attention"], {"features": features.numpy()})
    for member, logits in zip(ensemble.members, found, strict=True):
        with torch.no_grad():
            alone, _ = member(*pad_bags([features]))
        np.testing.assert_allclose(logits, alone.numpy()[0], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_exported_files_name_no_folder_of_this_machine(ensemble_path, encoder_path) -> None:
    for path in (ensemble_path, encoder_path):
        content = path.read_bytes()
        assert b".py" not in content
        assert str(Path(__file__).parents[2]).encode() not in content
