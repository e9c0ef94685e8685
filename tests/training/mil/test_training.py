"""Training: the best validation patients decide, and a seed repeats every bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deepsmile.errors import RequestInvalid
from deepsmile_training.mil.bags import Slide, pack, pad_bags
from deepsmile_training.mil.heads import VarMIL
from deepsmile_training.mil.recipe import (
    DeepMILSpec,
    HeadSpec,
    PoolSpec,
    Recipe,
    TransMILSpec,
    VarMILSpec,
)
from deepsmile_training.mil.training import (
    Labelled,
    class_weight,
    fit,
    of_patients,
    patient_auc,
    predict,
    weighted_loss,
)
from tests.training.mil.conftest import WIDTH, varied_bags

pytestmark = pytest.mark.slow

QUICK = Recipe(epochs=3, batch=8, evaluate_every=2)
SPECS: dict[str, HeadSpec] = {
    "deepmil": DeepMILSpec(nu=8),
    "gated": DeepMILSpec(kind="gated", nu=8),
    "embedded": DeepMILSpec(nu=8, embedding=(8, 4)),
    "varmil": VarMILSpec(nu=8),
    "varmil_std": VarMILSpec(nu=8, spread="std"),
    "mean": PoolSpec(kind="mean"),
    "max": PoolSpec(kind="max"),
    "transmil": TransMILSpec(width=16, heads=2),
}


def labelled(
    y: list[int], *, seed: int = 0, start: int = 0, patients: list[str] | None = None
) -> Labelled:
    names = [f"slide{start + i}" for i in range(len(y))]
    bags = varied_bags(np.array(y), seed)
    slides = [
        Slide(name, patient, bag)
        for name, patient, bag in zip(names, patients or names, bags, strict=True)
    ]
    return Labelled(pack(slides), np.array(y))


@pytest.fixture(scope="module")
def training() -> Labelled:
    return labelled([0, 1] * 20)


@pytest.fixture(scope="module")
def validation() -> Labelled:
    return labelled([0, 1] * 6, seed=1, start=100)


@pytest.mark.parametrize("name", SPECS)
def test_every_head_learns_its_training_slides(name: str, training: Labelled) -> None:
    """The loss at the end is below that of a coin; of heads that see spread, far below."""
    recipe = Recipe(epochs=25, batch=8, learning_rate=2e-2, weight_decay=0)
    fitted = fit(SPECS[name], training, recipe=recipe)
    p = predict(fitted.head, training.bags)
    loss = F.nll_loss(torch.from_numpy(p).log(), torch.from_numpy(training.y)).item()
    assert loss < (0.3 if name in ("varmil", "varmil_std", "max", "transmil") else 0.69)


def test_training_is_plain_adam_on_padded_batches(training: Labelled) -> None:
    """Section 4.2.2 against a loop that pads by torch's own function and standardises each time."""
    recipe = Recipe(epochs=2, batch=16)
    found = fit(VarMILSpec(nu=8), training, recipe=recipe, seed=3).head
    torch.manual_seed(3)
    head = VarMIL(WIDTH, nu=8)
    bags = list(training.bags.features.split(training.bags.sizes.tolist()))
    head.standardise_for(torch.cat(bags))
    target = torch.from_numpy(training.y)
    adam = torch.optim.Adam(head.parameters(), 5e-4, (0.9, 0.99), weight_decay=1e-4)
    for _ in range(2):
        for some in torch.randperm(len(bags)).split(16):
            logits, _ = head(*pad_bags([bags[i] for i in some]))
            loss = F.cross_entropy(logits, target[some], torch.tensor([1.0, 1.0]))
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
    # Only rounding reaches b_2, which softmax ignores, and Adam makes whole steps of it.
    expected = {name: p for name, p in head.named_parameters() if name != "weigh.bias"}
    for name, parameter in expected.items():
        torch.testing.assert_close(
            found.get_parameter(name), parameter, atol=1e-5, rtol=1e-4, msg=name
        )


def test_features_are_standardised_where_the_recipe_says_so(training: Labelled) -> None:
    """RESOLUTIONS row 23: as they are, a head sees what eqs 5 to 10 are given, and nothing else.

    Standardised features with the recipe of the paper are what our own recipe makes of others.
    """
    paper, ours = QUICK.model_copy(update={"standardise": False}), QUICK
    plain = fit(VarMILSpec(nu=8), training, recipe=paper).head
    assert torch.equal(plain.mean, torch.zeros(WIDTH))
    assert torch.equal(plain.deviation, torch.ones(WIDTH))
    found = fit(VarMILSpec(nu=8), training, recipe=ours).head
    assert not torch.equal(found.mean, torch.zeros(WIDTH))
    scaled = replace(training.bags, features=found.standardise(training.bags.features))
    expected = fit(VarMILSpec(nu=8), Labelled(scaled, training.y), recipe=paper).head
    p = predict(found, training.bags)
    np.testing.assert_array_equal(p, predict(expected, scaled))
    assert np.abs(p - predict(plain, training.bags)).max() > 1e-3


@pytest.mark.parametrize("name", ["varmil", "embedded"])
def test_a_seed_repeats_every_bit(name: str, training: Labelled, validation: Labelled) -> None:
    """Whatever the global generator did before; and it is left as it was."""
    torch.manual_seed(1)
    one = fit(SPECS[name], training, validation=validation, recipe=QUICK, seed=4)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    other = fit(SPECS[name], training, validation=validation, recipe=QUICK, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.curve == other.curve
    for a, b in zip(one.head.parameters(), other.head.parameters(), strict=True):
        assert torch.equal(a, b)
    third = fit(SPECS[name], training, validation=validation, recipe=QUICK, seed=5)
    assert third.curve != one.curve


def test_it_evaluates_every_n_steps_and_at_the_end(
    training: Labelled, validation: Labelled
) -> None:
    """Section 4.2.2; 40 bags in batches of 8 are 5 steps per epoch."""

    def steps(every: float) -> list[int]:
        recipe = QUICK.model_copy(update={"evaluate_every": every})
        fitted = fit(SPECS["varmil"], training, validation=validation, recipe=recipe)
        return [evaluation.step for evaluation in fitted.curve]

    assert steps(2) == [2, 4, 6, 8, 10, 12, 14, 15]
    assert steps(0.4) == steps(2)
    assert steps(5) == [5, 10, 15]


def test_the_first_of_the_best_evaluations_is_kept(
    training: Labelled, validation: Labelled
) -> None:
    """Algorithm 1, line 27; the weights are those of that step, not of the last."""
    recipe = Recipe(epochs=30, batch=8, learning_rate=1e-2, evaluate_every=1)
    fitted = fit(SPECS["varmil"], training, validation=validation, recipe=recipe)
    aucs = [evaluation.auc for evaluation in fitted.curve]
    assert aucs.count(max(aucs)) > 1
    assert fitted.best == fitted.curve[aucs.index(max(aucs))]
    p = predict(fitted.head, validation.bags)
    assert patient_auc(p, validation.y, validation.bags.patients) == fitted.best.auc
    loss = F.nll_loss(torch.from_numpy(p).log(), torch.from_numpy(validation.y)).item()
    assert loss == pytest.approx(fitted.best.validation_loss, abs=1e-5)
    assert loss > fitted.curve[-1].validation_loss + 0.01


def test_the_validation_changes_no_step(training: Labelled, validation: Labelled) -> None:
    """It chooses among weights; it has no say in them."""
    recipe = QUICK.model_copy(update={"evaluate_every": 1000})
    chosen = fit(SPECS["embedded"], training, validation=validation, recipe=recipe)
    alone = fit(SPECS["embedded"], training, recipe=recipe)
    for a, b in zip(chosen.head.parameters(), alone.head.parameters(), strict=True):
        assert torch.equal(a, b)


def test_slides_of_a_patient_are_averaged() -> None:
    """RESOLUTIONS row 18: by slide the AUC would be 1/2, by patient it is 1."""
    p = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.8, 0.2]])
    patients = ("b", "b", "a", "a")
    names, means = of_patients(p, patients)
    assert names == ("a", "b")
    np.testing.assert_allclose(means, [[0.7, 0.3], [0.5, 0.5]])
    y = np.array([1, 1, 0, 0])
    assert patient_auc(p, y, patients) == 1
    assert patient_auc(p, y, ("w", "x", "y", "z")) == 0.5


def test_three_classes_are_ranked_each_against_the_rest() -> None:
    p = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.1, 0.6, 0.3]])
    y = np.array([0, 1, 2, 2])
    # Class 0: 1. Class 1: beats two of three. Class 2: both tie with slide 1, beat slide 0.
    assert patient_auc(p, y, ("a", "b", "c", "d")) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    three = labelled([0, 1, 2] * 6)
    assert predict(fit(SPECS["varmil"], three, recipe=QUICK).head, three.bags).shape == (18, 3)


def test_the_weight_of_a_class_does_not_depend_on_the_batch() -> None:
    """Section 4.2; against a loop. So parts of a batch add up to it, down to single bags."""
    y = torch.tensor([0] * 9 + [1] * 3)
    weight = class_weight(y.numpy(), 2)
    assert weight.tolist() == pytest.approx([12 / 18, 12 / 6])
    assert weight[y].mean() == pytest.approx(1)
    logits = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    alone = [float(weight[c] * -row.log_softmax(0)[c]) for row, c in zip(logits, y, strict=True)]
    for parts in (1, 4, 12):
        losses = [
            weighted_loss(some, labels, weight).item()
            for some, labels in zip(logits.chunk(parts), y.chunk(parts), strict=True)
        ]
        assert np.mean(losses) == pytest.approx(np.mean(alone))
    assert weighted_loss(logits, y, None) == pytest.approx(F.cross_entropy(logits, y).item())


@pytest.mark.parametrize("batch", [1, 4])
def test_rare_positives_weigh_as_much_in_small_batches(batch: int) -> None:
    """Where bags tell nothing the mean is half, and without weights it sinks to 0.15."""
    y = np.array([1, 1, 1] + [0] * 17)
    bags = varied_bags(np.zeros(20), seed=3)
    slides = [Slide(f"{i}", f"{i}", bag) for i, bag in enumerate(bags)]
    told = {}
    for balanced in (True, False):
        recipe = Recipe(epochs=50, batch=batch, learning_rate=3e-3, balanced=balanced)
        head = fit(PoolSpec(kind="mean"), Labelled(pack(slides), y), recipe=recipe).head
        told[balanced] = predict(head, pack(slides))[:, 1].mean()
    assert told[True] == pytest.approx(0.5, abs=0.05)
    assert told[False] < 0.3


def test_the_validation_loss_is_weighted_as_the_training_is(validation: Labelled) -> None:
    """Section 4.2: n / (C n_class), taken from the training slides; divided by their mean."""
    rare = labelled([0] * 30 + [1] * 10)
    for balanced, weight in ((True, [40 / 60, 40 / 20]), (False, [1.0, 1.0])):
        recipe = QUICK.model_copy(update={"balanced": balanced})
        fitted = fit(SPECS["varmil"], rare, validation=validation, recipe=recipe)
        p = torch.from_numpy(predict(fitted.head, validation.bags))
        loss = F.nll_loss(
            p.log(), torch.from_numpy(validation.y), torch.tensor(weight, dtype=torch.double)
        )
        assert fitted.best.validation_loss == pytest.approx(loss.item(), abs=1e-5)


@pytest.mark.parametrize("part", ["training", "validation"])
@pytest.mark.parametrize("y", [[0, 0, 0], [1, 1, 1], [0, 2, 2], [-1, 0, 1]])
def test_labels_of_one_class_or_none_are_refused(
    part: str, y: list[int], training: Labelled, validation: Labelled
) -> None:
    parts = {"training": training, "validation": validation, part: labelled(y, start=200)}
    with pytest.raises(RequestInvalid, match=r"labels \["):
        fit(SPECS["varmil"], parts["training"], validation=parts["validation"], recipe=QUICK)


def test_as_many_labels_as_bags(training: Labelled) -> None:
    with pytest.raises(RequestInvalid, match="3 labels for 40 bags"):
        fit(SPECS["varmil"], Labelled(training.bags, training.y[:3]))


def test_a_patient_has_one_label(training: Labelled) -> None:
    torn = labelled([0, 1], start=200, patients=["p", "p"])
    with pytest.raises(RequestInvalid, match="validation: patient p has two labels"):
        fit(SPECS["varmil"], training, validation=torn)


def test_a_patient_is_on_one_side_of_the_split(training: Labelled) -> None:
    leaking = labelled([0, 1], start=200, patients=["slide7", "q"])
    with pytest.raises(RequestInvalid, match="patient slide7 is in training and in validation"):
        fit(SPECS["varmil"], training, validation=leaking)


def test_bags_of_one_tile_and_constant_features_train() -> None:
    """Documented: variance 0, features centred only; nothing becomes NaN."""
    y = np.array([0, 1] * 4)
    slides = [Slide(f"{i}", f"{i}", np.ones((1, 3), np.float32)) for i in range(8)]
    for name in SPECS:
        fitted = fit(SPECS[name], Labelled(pack(slides), y), recipe=QUICK)
        p = predict(fitted.head, pack(slides))
        assert np.isfinite(p).all()
        assert np.ptp(p[:, 1]) == 0  # equal slides, equal scores
