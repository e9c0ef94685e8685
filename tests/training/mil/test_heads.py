"""Heads: the papers' equations against slow oracles, and masks that hide all padding."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepsmile_training.mil.bags import pad_bags
from deepsmile_training.mil.heads import STD_EPS, DeepMIL, Head, VarMIL
from deepsmile_training.mil.pooling import attention_mean, attention_variance, masked_softmax
from tests.training.mil.conftest import MAKERS, WIDTH, make_head

pytestmark = pytest.mark.slow

MOPADI = Path(__file__).parents[3] / ".." / "shared" / "data" / "tiles" / "mopadi"


def weights_of(head: Head) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in head.state_dict().items()}


def linear(weights: dict[str, np.ndarray], name: str, z: list[float]) -> list[float]:
    rows, biases = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return [
        sum(w * v for w, v in zip(row, z, strict=True)) + bias
        for row, bias in zip(rows, biases, strict=True)
    ]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def oracle(name: str, head: Head, bag: np.ndarray) -> tuple[list[float], list[float]]:
    """One bag (I, H) through a head that pools, with loops: eqs 5-10; Ilse et al. 2018, eq. 9."""
    w = weights_of(head)
    z = [list((row - w["mean"]) / w["deviation"]) for row in bag]
    for layer in sorted({key.rpartition(".")[0] for key in w if key.startswith("embedding")}):
        z = [[max(v, 0.0) for v in linear(w, layer, row)] for row in z]
    tiles, width = len(z), len(z[0])
    if name == "max":
        columns = [[z[i][h] for i in range(tiles)] for h in range(width)]
        firsts = [c.index(max(c)) for c in columns]
        a = [firsts.count(i) / width for i in range(tiles)]
        return linear(w, "classify", [max(c) for c in columns]), a
    if name == "mean":
        a = [1 / tiles] * tiles
    else:
        scores = []
        for row in z:
            hidden = [math.tanh(v) for v in linear(w, "hidden", row)]
            if name == "gated":
                gates = [sigmoid(v) for v in linear(w, "gate", row)]
                hidden = [t * g for t, g in zip(hidden, gates, strict=True)]
            scores.append(linear(w, "weigh", hidden)[0])
        exponentials = [math.exp(s - max(scores)) for s in scores]
        a = [e / sum(exponentials) for e in exponentials]
    pooled = [sum(a[i] * z[i][h] for i in range(tiles)) for h in range(width)]
    if name.startswith("varmil"):
        factor = tiles / (tiles - 1) if tiles > 1 else 0.0
        variances = [
            factor * sum(a[i] * (z[i][h] - pooled[h]) ** 2 for i in range(tiles))
            for h in range(width)
        ]
        std = name == "varmil_std"
        pooled = pooled + [math.sqrt(v + STD_EPS) if std else v for v in variances]
    return linear(w, "classify", pooled), a


@pytest.mark.parametrize("tiles", [1, 2, 9])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", [name for name in MAKERS if name != "transmil"])
def test_a_head_is_its_equations(name: str, classes: int, tiles: int) -> None:
    """Eqs 5-10 in float64, and attention that is what the mean was weighted with."""
    head = make_head(name, classes=classes).double()
    bag = torch.randn(tiles, WIDTH, dtype=torch.float64)
    logits, attention = head(bag[None], torch.ones(1, tiles, dtype=torch.bool))
    expected_logits, expected_attention = oracle(name, head, bag.numpy())
    np.testing.assert_allclose(logits.detach().numpy()[0], expected_logits, atol=1e-12)
    np.testing.assert_allclose(attention.detach().numpy()[0], expected_attention, atol=1e-12)


@pytest.mark.parametrize("litter", [0.0, -3.0, 1e4, 1e30])
@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=8, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    further=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_padded_equals_unpadded(
    name: str, litter: float, sizes: list[int], further: int, seed: int
) -> None:
    """RESOLUTIONS row 6: whatever the padding, however long, whoever else is in the batch.

    Each bag is padded, by one tile at least, as the last of the batch is longer.
    """
    head = make_head(name, seed=seed).double()
    bags = [torch.randn(size, WIDTH, dtype=torch.float64) for size in sizes]
    features, mask = pad_bags([*bags, torch.zeros(max(sizes) + further, WIDTH).double()])
    features = features.masked_fill(~mask.unsqueeze(2), litter)
    with torch.no_grad():
        logits, attention = head(features, mask)
        for i, bag in enumerate(bags):
            alone, a = head(bag[None], torch.ones(1, len(bag), dtype=torch.bool))
            torch.testing.assert_close(logits[i], alone[0], atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(attention[i, : len(bag)], a[0], atol=1e-12, rtol=1e-9)
            assert not attention[i, len(bag) :].any()


def test_attention_sums_to_one_and_gradients_are_finite(head: Head) -> None:
    """For bags of one tile, of equal tiles, and of very different sizes, padded together."""
    bags = [torch.randn(1, WIDTH), torch.ones(3, WIDTH), torch.randn(40, WIDTH)]
    logits, attention = head(*pad_bags(bags))
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(3))
    torch.autograd.backward(logits.square().sum())
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_the_std_option_learns_where_the_variance_is_zero() -> None:
    """RESOLUTIONS row 4: the root's slope is infinite at 0; with eps it is 0.5 / sqrt(eps)."""
    head = make_head("varmil_std")
    assert isinstance(head, VarMIL)
    features = torch.ones(1, 4, WIDTH, requires_grad=True)
    mask = torch.ones(1, 4, dtype=torch.bool)
    z = head.standardise(features)
    represented = head.represent(z, head.attend(z, mask), mask)  # (1, 2 WIDTH)
    torch.testing.assert_close(represented[0, WIDTH:], torch.full((WIDTH,), STD_EPS**0.5))
    torch.autograd.backward(head(features, mask)[0].sum())
    assert torch.isfinite(features.grad).all()


def test_the_detached_mean_changes_no_gradient() -> None:
    """Eq. 8's gradient through the mean is zero, since the weights sum to 1."""

    def plain(z: torch.Tensor, a: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        tiles = mask.sum(dim=1, keepdim=True).double()
        centred = z - attention_mean(z, a).unsqueeze(1)
        return tiles / (tiles - 1).clamp(min=1) * attention_mean(centred**2, a)

    torch.manual_seed(0)
    values, scores = torch.randn(3, 7, 4).double(), torch.randn(3, 7).double()
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]])
    gradients = []
    for variance in (plain, attention_variance):
        z, s = values.clone().requires_grad_(), scores.clone().requires_grad_()
        result = variance(z, masked_softmax(s, mask), mask)
        torch.autograd.backward((result * torch.arange(12).view(3, 4)).sum())
        gradients.append((z.grad, s.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_the_variance_does_not_cancel_in_float32() -> None:
    """Two passes: features of mean 1,000 and deviation 0.1, to 0.1 % of float64."""
    torch.manual_seed(0)
    z, a = 1000 + 0.1 * torch.randn(2, 500, 8), torch.rand(2, 500).softmax(dim=1)
    mask = torch.ones(2, 500, dtype=torch.bool)
    found = attention_variance(z, a, mask)
    torch.testing.assert_close(
        found.double(), attention_variance(z.double(), a.double(), mask), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "transmil"])
def test_the_order_of_tiles_does_not_matter(name: str) -> None:
    """Section 4.2.2; TransMIL is another matter, and says so."""
    head = make_head(name).double()
    bag, order = torch.randn(30, WIDTH).double(), torch.randperm(30)
    mask = torch.ones(1, 30, dtype=torch.bool)
    logits, attention = head(bag[None], mask)
    shuffled_logits, shuffled = head(bag[None, order], mask)
    torch.testing.assert_close(shuffled_logits, logits, atol=1e-12, rtol=0)
    torch.testing.assert_close(shuffled[0], attention[0, order], atol=1e-12, rtol=0)


def test_constant_features_say_nothing() -> None:
    """Centred, not divided by zero: whatever the bag, the logits are the biases."""
    head = DeepMIL(3)
    head.standardise_for(torch.full((9, 3), 7.0))
    logits, _ = head(torch.full((1, 4, 3), 7.0), torch.ones(1, 4, dtype=torch.bool))
    assert logits.tolist() == [[0.0, 0.0]]


def test_standardisation_is_numpy_s_and_exact_for_constants() -> None:
    """Over several parts; 0.1 has no exact sum in float32, and still its deviation is none."""
    torch.manual_seed(0)
    tiles = torch.randn(5000, 3) * torch.tensor([1.0, 0.01, 1.0]) + torch.tensor([0.0, 100.0, 0.1])
    tiles[:, 2] = 0.1
    head = DeepMIL(3)
    head.standardise_for(tiles)
    exact = tiles.double().numpy()
    np.testing.assert_allclose(head.mean.numpy(), exact.mean(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(head.deviation.numpy()[:2], exact.std(axis=0)[:2], rtol=1e-3)
    assert head.mean[2] == tiles[0, 2]
    assert head.deviation[2] == 1


def test_without_he_the_layers_are_torch_s_own() -> None:
    """RESOLUTIONS row 9: the authors' code; uniform, so no weight exceeds 1 / sqrt(fan in)."""
    torch.manual_seed(0)
    plain, he = DeepMIL(400, he=False), DeepMIL(400)
    assert plain.hidden.weight.abs().max() <= 1 / 20
    assert he.hidden.weight.abs().max() > 1 / 20
    assert he.hidden.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)


@pytest.fixture(params=[("TCGA-AD-6964", 777, 14480), ("TCGA-3X-AAVA", 180, 2048)])
def real_bag(request: pytest.FixtureRequest) -> torch.Tensor:
    """Features of a real slide: HDF5, whose one float block lies whole at a known offset."""
    if not MOPADI.is_dir():
        pytest.skip("../shared/data is not in a clone of the project")
    name, tiles, offset = request.param
    path = MOPADI / f"{name}-01Z-00-DX1" / "features.h5"
    values = np.fromfile(path, "<f4", tiles * 512, offset=offset)
    return torch.from_numpy(values.reshape(tiles, 512))


@pytest.mark.parametrize("name", MAKERS)
def test_real_features_flow_through_every_head(name: str, real_bag: torch.Tensor) -> None:
    """Finite, the same padded, and for the heads that pool the same as the loops of the oracle."""
    head = make_head(name, width=512)
    head.standardise_for(real_bag)
    features, mask = pad_bags([real_bag, torch.zeros(900, 512)])
    with torch.no_grad():
        logits, attention = head(*pad_bags([real_bag]))
        padded, _ = head(features, mask)
    assert torch.isfinite(logits).all()
    assert attention.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(padded[0], logits[0], atol=1e-4, rtol=1e-4)
    if name in ("deepmil", "varmil", "max"):
        expected, weights = oracle(name, head, real_bag.double().numpy())
        np.testing.assert_allclose(logits[0].numpy(), expected, atol=1e-3, rtol=1e-3)
        np.testing.assert_allclose(attention[0].numpy(), weights, atol=1e-5)
