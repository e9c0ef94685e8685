"""BYOL against its paper's equations (Grill et al. 2020, eqs 1 and 2, section 3.3)."""

import math
from dataclasses import replace

import pytest
import torch

from deepsmile_training.pretraining.byol import BYOL
from deepsmile_training.pretraining.loop import Run, Trainer
from tests.training.pretraining.conftest import small_config, small_trainer


@pytest.fixture
def trainer(run: Run) -> Trainer:
    config = small_config(
        method="byol", byol={"hidden": 16, "embedding_dim": 8, "momentum": 0.9}, accumulation=2
    )
    return small_trainer(replace(run, config=config))


def byol_of(trainer: Trainer) -> BYOL:
    assert isinstance(trainer.method, BYOL)
    return trainer.method


def test_loss_is_equation_2_both_ways(trainer: Trainer) -> None:
    """||q(z) - z'||^2 of unit vectors, each view's prediction against the other's target."""
    method = byol_of(trainer).eval()
    with torch.no_grad():
        for follower in method.target_projector.parameters():
            follower.add_(0.1)  # else online and target are the same
        views = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        loss = float(method(views).loss)
        online = method.predictor(method.projector(method.encoder.encode_unit(views))).tolist()
        target = method.target_projector(method.target_encoder.encode_unit(views)).tolist()

    def unit(vector: list[float]) -> list[float]:
        length = math.sqrt(sum(value * value for value in vector))
        return [value / length for value in vector]

    def apart(i: int, j: int) -> float:
        pairs = zip(unit(online[i]), unit(target[j]), strict=True)
        return sum((q - z) ** 2 for q, z in pairs)

    slow = sum(apart(i, i + 3) + apart(i + 3, i) for i in range(3)) / 3
    assert loss == pytest.approx(slow, rel=1e-5)


def test_half_precision_predictions_are_compared_in_single(trainer: Trainer) -> None:
    """Under autocast, as in training: the loss of what the heads give, in full."""
    method, given = byol_of(trainer).eval(), []
    for head in (method.predictor, method.target_projector):
        head.register_forward_hook(lambda _head, _taken, z: given.append(z))
    views = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        loss = method(views).loss
    assert [z.dtype for z in given] == [torch.bfloat16] * 2
    target, predicted = (z.double() for z in given)
    other = target.roll(3, dims=0)  # the other view's
    cosine = (predicted * other).sum(1) / predicted.norm(dim=1) / other.norm(dim=1)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(2 * (2 - 2 * cosine).mean()), rel=1e-5)


def test_target_learns_by_momentum_alone(trainer: Trainer) -> None:
    """xi <- tau xi + (1 - tau) theta with tau = 1 - (1 - 0.9) (cos(pi k / K) + 1) / 2."""
    method = byol_of(trainer)
    before = [follower.clone() for follower in method.target_projector.parameters()]
    leaders = [leader.detach() + 1 for leader in method.projector.parameters()]
    with torch.no_grad():
        for leader, wanted in zip(method.projector.parameters(), leaders, strict=True):
            leader.copy_(wanted)
    method.after_step(0.25)
    tau = 1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2
    for was, is_, leader in zip(before, method.target_projector.parameters(), leaders, strict=True):
        torch.testing.assert_close(is_.detach(), tau * was + (1 - tau) * leader)
    method.after_step(1.0)  # tau is 1 at the end: nothing moves
    for was, is_ in zip(before, method.target_projector.parameters(), strict=True):
        torch.testing.assert_close(is_.detach(), was + (1 - tau))
    assert not any(part.requires_grad for part in method.target_encoder.parameters())


def test_virtual_batch_has_the_mean_gradient_of_its_parts(trainer: Trainer) -> None:
    """Appendix B.1: accumulation, one step of Adam for all parts."""
    order, method = trainer.order, byol_of(trainer)
    places = order.places(0)
    parts = [torch.from_numpy(trainer.run.tiles.read(order.rows(place))) for place in places]
    means = [torch.zeros_like(part) for part in method.predictor.parameters()]
    for place, tiles in zip(places, parts, strict=True):
        method.zero_grad()
        torch.autograd.backward(trainer.outcome(place, tiles).loss)
        for mean, part in zip(means, method.predictor.parameters(), strict=True):
            assert part.grad is not None
            mean += part.grad / 2
    trainer.take_step(parts)
    for mean, part in zip(means, method.predictor.parameters(), strict=True):
        assert part.grad is not None
        torch.testing.assert_close(part.grad, mean)
    assert len(parts) == 2
    assert trainer.step == 1
