"""Recomputed blocks: less memory, and nothing else is different."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.backbones import Backbone
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder
from deepsmile_training.pretraining.recomputing import recompute_blocks

pytestmark = pytest.mark.slow


def after_a_step(encoder: TileEncoder) -> tuple[dict[str, Tensor], list[Tensor | None]]:
    """Running statistics and gradients."""
    views = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))  # (B, 3, v, v)
    torch.autograd.backward(encoder.encode_unit(views).square().sum())
    return dict(encoder.named_buffers()), [part.grad for part in encoder.parameters()]


def norm_calls(encoder: TileEncoder) -> Counter[nn.Module]:
    """How often each batch norm computes, from now on."""
    calls: Counter[nn.Module] = Counter()
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_pre_hook(lambda norm, _: calls.update([norm]))
    return calls


@pytest.mark.parametrize("backbone", ["shufflenet_v2_x0_5", "resnet18"])
def test_a_step_is_the_same(backbone: str) -> None:
    """Gradients and what every batch norm counted, though its block was computed twice."""
    encoders = [make_encoder(backbone, 0) for _ in range(2)]
    recompute_blocks(encoders[1])
    calls = [norm_calls(encoder) for encoder in encoders]
    (kept, gradients), (recomputed, again) = (after_a_step(encoder) for encoder in encoders)
    assert set(calls[0].values()) == {1}
    assert set(calls[1].values()) == {1, 2}
    torch.testing.assert_close(again, gradients, atol=0, rtol=1e-6)
    torch.testing.assert_close(recomputed, kept, atol=0, rtol=1e-6)
    counted = [int(value) for name, value in recomputed.items() if name.endswith("tracked")]
    assert counted == [1] * len(counted) != []


def test_statistics_go_on_after_a_recomputation() -> None:
    """Those of a second step are added to those of the first."""
    encoder = make_encoder("shufflenet_v2_x0_5", 0)
    recompute_blocks(encoder)
    first = {name: value.clone() for name, value in after_a_step(encoder)[0].items()}
    second, _ = after_a_step(encoder)
    for name, value in second.items():
        if name.endswith("tracked"):
            assert (int(first[name]), int(value)) == (1, 2), name
        elif name.endswith("running_var"):
            assert not torch.equal(first[name], value), name


def test_a_backbone_without_blocks_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="has no stages of blocks"):
        recompute_blocks(TileEncoder(Backbone("flat", nn.Flatten(), 3072)))
