"""The sealed test set: one choice opens it for a model, and nothing is chosen on it afterwards."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from deepsmile.calibration import Platt
from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.evidence.points import Targets
from deepsmile_training.evidence.predictions import TestPredictions, ValidationPredictions
from deepsmile_training.evidence.sealed import SEAL, Opened, SealedTest, read_seal
from tests.training.evidence.cases import drawn_test, drawn_validation


def retrained_test() -> TestPredictions:
    """What another model says of the same test patients."""
    test = drawn_test()
    return test.with_probabilities(test.p / 2)


def open_once(folder: Path) -> Opened:
    return SealedTest(drawn_test(), folder).open(make_choice(drawn_validation()))


def test_the_same_choice_opens_it_again_in_a_later_run(tmp_path: Path) -> None:
    first, again = open_once(tmp_path), open_once(tmp_path)
    assert first.predictions.digest == again.predictions.digest
    assert (first.look, again.look) == (1, 1)


@pytest.mark.parametrize("later_run", [False, True])
def test_another_choice_is_refused(tmp_path: Path, later_run: bool) -> None:
    """Another target, another validation set: each would be made in knowledge of the test."""
    sealed = SealedTest(drawn_test(), tmp_path)
    sealed.open(make_choice(drawn_validation()))
    for other in (
        make_choice(drawn_validation(), targets=Targets(sensitivity=0.9)),
        make_choice(drawn_validation(seed=7)),
    ):
        with pytest.raises(RequestInvalid, match="in knowledge of the test"):
            (SealedTest(drawn_test(), tmp_path) if later_run else sealed).open(other)


def test_a_part_of_the_tested_in_another_order_is_no_other_test(tmp_path: Path) -> None:
    """Nor are other subgroups: whatever else a table says, its patients have been seen."""
    open_once(tmp_path)
    part = drawn_test().taken(np.arange(1, 300)[::-1])
    bare = TestPredictions(part.patients, part.y, part.p)
    with pytest.raises(RequestInvalid, match="in knowledge of the test"):
        SealedTest(bare, tmp_path).open(make_choice(drawn_validation(seed=7)))


def test_a_model_that_says_the_same_of_validation_is_the_same_model(tmp_path: Path) -> None:
    """Its test predictions were changed, and its targets: that is no new model."""
    open_once(tmp_path)
    lax = make_choice(drawn_validation(), targets=Targets(sensitivity=0.9))
    with pytest.raises(RequestInvalid, match="in knowledge of the test"):
        SealedTest(retrained_test(), tmp_path).open(lax)


def test_another_model_is_tested_on_the_same_patients_and_counted(tmp_path: Path) -> None:
    """A paper compares models on one test set; each is chosen once, and readers see how many."""
    open_once(tmp_path)
    other = retrained_test()
    second = SealedTest(other, tmp_path).open(make_choice(drawn_validation(seed=7)))
    assert second.predictions is other
    assert second.look == 2
    assert open_once(tmp_path).look == 1
    with pytest.raises(RequestInvalid, match="in knowledge of the test"):
        SealedTest(other, tmp_path).open(make_choice(drawn_validation(seed=8)))


def test_another_label_or_other_patients_are_no_further_look(tmp_path: Path) -> None:
    open_once(tmp_path)
    test, choice = drawn_test(), make_choice(drawn_validation(seed=7))
    label = TestPredictions(test.patients, 1 - test.y, 1 - test.p)
    assert SealedTest(label, tmp_path).open(choice).look == 1
    others = TestPredictions(tuple(f"u{i}" for i in range(300)), test.y, test.p)
    assert SealedTest(others, tmp_path).open(choice).look == 1


def test_labels_of_two_names_are_two_questions_though_they_agree(tmp_path: Path) -> None:
    """mHRD and tHRD may cut the test patients in the same way; unnamed tables ask as all do."""
    test, other = drawn_test(), retrained_test()
    SealedTest(test, tmp_path, "mHRD").open(make_choice(drawn_validation()))
    second = SealedTest(other, tmp_path, "tHRD").open(make_choice(drawn_validation(seed=7)))
    assert second.look == 1
    third = other.with_probabilities(other.p / 2)
    again = SealedTest(third, tmp_path, "mHRD").open(make_choice(drawn_validation(seed=8)))
    assert again.look == 2
    unnamed = other.with_probabilities(other.p / 4)
    assert SealedTest(unnamed, tmp_path).open(make_choice(drawn_validation(seed=9))).look == 4


def test_a_label_that_was_cut_elsewhere_asks_the_same(tmp_path: Path) -> None:
    """By its name: another split has other thresholds, and some patients of another class."""
    test = drawn_test()
    SealedTest(test, tmp_path, "mHRD").open(make_choice(drawn_validation()))
    moved = TestPredictions(test.patients, np.where(test.p > 0.99, 1, test.y), test.p / 2)
    assert (moved.y != test.y).any()
    assert SealedTest(moved, tmp_path, "mHRD").open(make_choice(drawn_validation(seed=7))).look == 2


def test_tests_at_one_time_know_of_each_other(tmp_path: Path) -> None:
    """Eight at once: each reads, checks and writes alone, so none is lost or counted twice."""
    start, test = Barrier(8), drawn_test(40)
    choices = [make_choice(drawn_validation(60, seed)) for seed in range(8)]

    def look(k: int) -> int:
        model = SealedTest(test.with_probabilities(test.p / (k + 1)), tmp_path)
        start.wait()
        return model.open(choices[k]).look

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(look, range(8))) == list(range(1, 9))
    assert len(read_seal(tmp_path).openings) == 8


@pytest.mark.parametrize(
    ("positives", "p", "complaint"),
    [
        (1, np.linspace(0.1, 0.9, 40), "two patients of each class: 1 positive, 39 negative"),
        (5, np.full(40, 0.3), "nothing to rank"),
    ],
)
def test_predictions_without_figures_stay_closed(
    positives: int, p: np.ndarray, complaint: str, tmp_path: Path
) -> None:
    y = np.array([1] * positives + [0] * (40 - positives))
    test = TestPredictions(tuple(f"t{i}" for i in range(40)), y, p)
    with pytest.raises(RequestInvalid, match=complaint):
        SealedTest(test, tmp_path).open(make_choice(drawn_validation()))
    assert not list(tmp_path.iterdir())


def test_nothing_is_chosen_on_patients_who_were_tested(tmp_path: Path) -> None:
    """In the folder of their seal, for the sake of other test patients too."""
    open_once(tmp_path)
    test = drawn_test()
    names = (*test.patients[:9], *(f"w{i}" for i in range(291)))
    choice = make_choice(ValidationPredictions(names, test.y, test.p))
    fresh = TestPredictions(tuple(f"u{i}" for i in range(300)), test.y, test.p)
    with pytest.raises(RequestInvalid, match="9 of 300 patients to choose on were test patients"):
        SealedTest(fresh, tmp_path).open(choice)
    assert len(read_seal(tmp_path).openings) == 1


@pytest.mark.parametrize("damage", ["{", "[]", "edited"])
def test_a_damaged_seal_is_named_and_opens_nothing(tmp_path: Path, damage: str) -> None:
    open_once(tmp_path)
    seal = tmp_path / SEAL
    record = json.loads(seal.read_text())
    seal.write_text(json.dumps(record | {"openings": []}) if damage == "edited" else damage)
    with pytest.raises(RequestInvalid, match=rf"the seal of tests is damaged: {SEAL}") as caught:
        open_once(tmp_path)
    assert caught.value.code == "request_invalid"
    assert caught.value.hint.startswith("Restore the file")


def test_a_seal_that_cannot_be_kept_opens_nothing(tmp_path: Path) -> None:
    """Where the folder is none: permissions mean nothing to root."""
    (tmp_path / "file").touch()
    with pytest.raises(RequestInvalid, match="cannot be written beside the test predictions"):
        open_once(tmp_path / "file")


def test_the_seal_names_nobody(tmp_path: Path) -> None:
    open_once(tmp_path)
    assert len(read_seal(tmp_path).openings[0].patients) == 300
    assert '"t17"' not in (tmp_path / SEAL).read_text()


def test_test_patients_among_those_chosen_on_are_refused(tmp_path: Path) -> None:
    """Test predictions copied into validation predictions do not get through either."""
    validation = drawn_validation()
    leaked = TestPredictions(validation.patients, validation.y, validation.p)
    with pytest.raises(RequestInvalid, match="300 test patients are among those"):
        SealedTest(leaked, tmp_path).open(make_choice(validation))
    assert not list(tmp_path.iterdir())


def test_only_test_predictions_are_sealed_and_only_a_choice_opens(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="only TestPredictions"):
        SealedTest(drawn_validation(), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a Choice opens"):
        SealedTest(drawn_test(), tmp_path).open("choice")  # type: ignore[arg-type]


def test_a_closed_set_shows_nothing(tmp_path: Path) -> None:
    sealed = SealedTest(drawn_test(), tmp_path)
    assert [name for name in dir(sealed) if not name.startswith("_")] == ["open"]
    assert "0." not in repr(sealed)


def test_the_digest_of_a_choice_covers_what_was_chosen() -> None:
    base = make_choice(drawn_validation())
    assert base.digest == make_choice(drawn_validation()).digest
    assert base.digest != make_choice(drawn_validation(), targets=Targets(0.9)).digest
    assert base.digest != make_choice(drawn_validation(), seed=3).digest


def test_the_digest_of_a_choice_is_the_same_on_every_processor(tmp_path: Path) -> None:
    """Fitted weights and log-losses differ in their last bits, what they are fitted on does not."""
    choice = make_choice(drawn_validation())
    SealedTest(drawn_test(), tmp_path).open(choice)
    assert isinstance(choice.calibration, Platt)
    weights = choice.calibration.model_dump()
    nudged = {k: float(np.nextafter(v, 9)) for k, v in weights.items() if k != "method"}
    losses = {name: float(np.nextafter(loss, 9)) for name, loss in choice.log_losses.items()}
    elsewhere = replace(
        choice, calibration=Platt.model_validate(weights | nudged), log_losses=losses
    )
    assert elsewhere.calibration != choice.calibration
    assert SealedTest(drawn_test(), tmp_path).open(elsewhere).look == 1


def test_nothing_is_chosen_on_constant_predictions() -> None:
    flat = drawn_validation().with_probabilities(np.full(300, 0.2))
    with pytest.raises(RequestInvalid, match="there is nothing to rank"):
        make_choice(flat)


def test_a_model_that_ranks_backwards_gets_points_that_say_so() -> None:
    validation = drawn_validation()
    choice = make_choice(validation.with_probabilities(1 - validation.p))
    assert "(sensitivity 1.000, specificity 0.000 there)" in choice.points[1].basis
