"""The sealed test set: one choice opens it, no other ever does."""

from pathlib import Path

import numpy as np
import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.choices import choose_model, make_choice
from deepsmile_training.evidence.points import Targets
from deepsmile_training.evidence.predictions import TestPredictions
from deepsmile_training.evidence.sealed import SealedTest
from tests.training.evidence.cases import drawn_test, drawn_validation


def test_the_same_choice_opens_it_again_in_a_later_run(tmp_path: Path) -> None:
    seal, choice = tmp_path / "test.seal.json", make_choice(drawn_validation())
    first = SealedTest(drawn_test(), seal).open(choice)
    again = SealedTest(drawn_test(), seal).open(make_choice(drawn_validation()))
    assert first.digest == again.digest


@pytest.mark.parametrize("later_run", [False, True])
def test_another_choice_is_refused(tmp_path: Path, later_run: bool) -> None:
    """Another target, another validation set: each would be made in knowledge of the test."""
    seal = tmp_path / "test.seal.json"
    sealed = SealedTest(drawn_test(), seal)
    sealed.open(make_choice(drawn_validation()))
    for other in (
        make_choice(drawn_validation(), targets=Targets(sensitivity=0.9)),
        make_choice(drawn_validation(seed=7)),
    ):
        with pytest.raises(RequestInvalid, match="in knowledge of the test"):
            (SealedTest(drawn_test(), seal) if later_run else sealed).open(other)


def test_every_models_predictions_have_a_seal_of_their_own(tmp_path: Path) -> None:
    seal = tmp_path / "test.seal.json"
    SealedTest(drawn_test(), seal).open(make_choice(drawn_validation()))
    test = drawn_test()
    other = test.with_probabilities(test.p / 2)
    assert SealedTest(other, seal).open(make_choice(drawn_validation(seed=7))) is other


def test_test_patients_among_those_chosen_on_are_refused(tmp_path: Path) -> None:
    """Test predictions copied into validation predictions do not get through either."""
    validation = drawn_validation()
    leaked = TestPredictions(validation.patients, validation.y, validation.p)
    with pytest.raises(RequestInvalid, match="300 test patients are among those"):
        SealedTest(leaked, tmp_path / "seal.json").open(make_choice(validation))
    assert not (tmp_path / "seal.json").exists()


def test_only_test_predictions_are_sealed_and_only_a_choice_opens(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="only TestPredictions"):
        SealedTest(drawn_validation(), tmp_path / "s")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a Choice opens"):
        SealedTest(drawn_test(), tmp_path / "s").open("choice")  # type: ignore[arg-type]


def test_a_closed_set_shows_nothing(tmp_path: Path) -> None:
    sealed = SealedTest(drawn_test(), tmp_path / "s")
    assert [name for name in dir(sealed) if not name.startswith("_")] == ["open"]
    assert "0." not in repr(sealed)


def test_the_digest_of_a_choice_covers_what_was_chosen() -> None:
    base = make_choice(drawn_validation())
    assert base.digest == make_choice(drawn_validation()).digest
    assert base.digest != make_choice(drawn_validation(), targets=Targets(0.9)).digest
    assert base.digest != make_choice(drawn_validation(), seed=3).digest


def test_nothing_is_chosen_on_constant_predictions() -> None:
    flat = drawn_validation().with_probabilities(np.full(300, 0.2))
    with pytest.raises(RequestInvalid, match="there is nothing to rank"):
        make_choice(flat)


def test_a_model_that_ranks_backwards_gets_points_that_say_so() -> None:
    validation = drawn_validation()
    choice = make_choice(validation.with_probabilities(1 - validation.p))
    assert "(sensitivity 1.000, specificity 0.000 there)" in choice.points[1].basis


def test_the_better_model_is_chosen_on_the_same_patients_only() -> None:
    """A worse model's ranks are blunted; with other patients there is no comparison."""
    good = drawn_validation()
    worse = good.with_probabilities(good.p.round(1))
    assert choose_model({"worse": worse, "good": good}) == "good"
    assert choose_model({"first": good, "second": good}) == "first"
    with pytest.raises(RequestInvalid, match="same patients"):
        choose_model({"all": good, "fewer": drawn_validation(200)})
