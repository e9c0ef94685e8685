"""Members: who has a say in whose prediction, and that no test patient has any."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.errors import RequestInvalid
from deepsmile_training.bundling.development import Development, development_of
from deepsmile_training.bundling.look import Candidate, look_at_test
from deepsmile_training.bundling.members import (
    HeldOut,
    predict_held_out,
    train_members,
    trainings_needed,
)
from deepsmile_training.bundling.source import Source
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.encoders.weights import read_weights, write_weights
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.evidence.points import Targets
from deepsmile_training.mil.bags import Slide, pack
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.training import predict
from deepsmile_training.prepared.prepared import open_prepared
from tests.training.bundling.conftest import FOLDS, Made

pytestmark = pytest.mark.slow


@pytest.fixture
def quick(mil: MilConfig) -> MilConfig:
    return mil.model_copy(update={"recipe": mil.recipe.model_copy(update={"epochs": 2})})


@pytest.fixture
def development(source: Source) -> Development:
    return development_of(source, "MSI")


def held_out(source: Source, development: Development, config: MilConfig) -> HeldOut:
    members = train_members(source, development, config, lambda: None)
    return predict_held_out(source, development, members, min_tiles=8)


def test_no_training_sees_whom_it_predicts(development: Development) -> None:
    """Every fold in turn; the patients are shared out among train, choosing and predicted."""
    everybody = {name for fold in development.folds for name in fold}
    for k in range(FOLDS):
        served = development.served(k)
        parts = [set(served.patients("train")), set(served.patients("val"))]
        assert set.union(*parts) == everybody
        assert parts[1] == set(development.folds[k])
        for j in set(range(FOLDS)) - {k}:
            inner = development.inner(k, j)
            train, chooser = set(inner.patients("train")), set(inner.patients("val"))
            assert chooser == set(development.folds[j])
            assert train == everybody - chooser - set(development.folds[k])


def test_no_test_patient_has_a_class_here(source: Source, development: Development) -> None:
    tested = set(source.prepared.split.folds[0].test)
    assert len(tested) == 14
    assert not tested & set(development.of)
    with pytest.raises(CohortInvalid, match="no test slide"):
        source.labelled(development.served(0), "test", MilConfig())


def test_each_patient_is_the_mean_of_slides_and_of_its_fold_s_strangers(
    source: Source, development: Development, quick: MilConfig
) -> None:
    """Member by member with the training's own `predict`, on whole slides."""
    members = train_members(source, development, quick, lambda: None)
    found = predict_held_out(source, development, members, min_tiles=8).validation
    fold_of = {name: k for k, fold in enumerate(development.folds) for name in fold}
    two_slides = [name for name in ("p00", "p01") if name in fold_of]
    for patient in {*two_slides, *(fold[0] for fold in development.folds)}:
        judges = members.judges[fold_of[patient]].members
        assert len(judges) == FOLDS - 1
        scores = []
        for bag in source.bags(patient):
            if len(bag.features) >= 8:
                whole = pack([Slide(bag.slide_sha256, patient, bag.features)])
                scores.append(np.mean([predict(one, whole)[0, 1] for one in judges]))
        row = found.patients.index(patient)
        assert found.p[row] == pytest.approx(np.mean(scores), abs=1e-6)
        assert found.slides[row] == len(scores)


def test_as_many_trainings_as_were_told(
    source: Source, development: Development, quick: MilConfig
) -> None:
    told: list[int] = []
    members = train_members(source, development, quick, lambda: told.append(1))
    assert len(told) == trainings_needed(FOLDS) == 9
    assert len(members.served.members) == len(members.best) == FOLDS


class Stopped(Exception):
    """As Ctrl-C, after a training."""


def test_a_bundle_goes_on_where_it_stopped(
    source: Source, quick: MilConfig, prepared_root: Path, tmp_path: Path
) -> None:
    """Stopped after four of nine: these are read back, and all is as if nothing had happened."""

    def copied(name: str) -> Source:
        root = Path(shutil.copytree(prepared_root, tmp_path / name))
        return Source(open_prepared(root), source.known)

    def stop_after_four() -> None:
        if len(files()) == 4:
            raise Stopped

    def files() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in broken.prepared.root.glob("members/*.pt")}

    config = quick.model_copy(update={"seed": 11})
    whole, broken = copied("whole"), copied("broken")
    development = development_of(whole, "MSI")
    with pytest.raises(Stopped):
        train_members(broken, development, config, stop_after_four)
    kept = files()
    one, other = (held_out(each, development, config).validation for each in (whole, broken))
    assert len(kept) == 4
    assert kept.items() <= files().items()
    assert len(files()) == 9
    np.testing.assert_array_equal(one.p, other.p)
    first, again = (train_members(each, development, config, lambda: None) for each in (whole,) * 2)
    assert first.best == again.best
    other_seed = config.model_copy(update={"seed": 12})
    assert not np.array_equal(held_out(broken, development, other_seed).validation.p, one.p)
    flipped = replace(development, of={name: 1 - y for name, y in development.of.items()})
    assert not np.array_equal(held_out(broken, flipped, config).validation.p, one.p)
    assert len(files()) == 27


def test_a_kept_member_that_was_changed_is_not_served(
    source: Source, quick: MilConfig, prepared_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(prepared_root, tmp_path / "prepared"))
    copy = Source(open_prepared(root), source.known)
    development = development_of(copy, "MSI")
    train_members(copy, development, quick, lambda: None)
    path = next(root.glob("members/*.pt"))
    content = read_weights(path)
    content["head"]["mean"] += 1
    write_weights(content, path)
    with pytest.raises(RequestInvalid, match="it was changed since it was written"):
        train_members(copy, development, quick, lambda: None)


def test_a_patient_has_no_say_in_its_own_probability(
    source: Source, development: Development, quick: MilConfig
) -> None:
    """Flip a label: the fold's own probabilities stay as they are, the others' do not."""
    one = held_out(source, development, quick).validation
    patient = development.folds[1][0]
    flipped = {**development.of, patient: 1 - development.of[patient]}
    other = held_out(source, replace(development, of=flipped), quick).validation
    own = np.isin(one.patients, development.folds[1])
    np.testing.assert_array_equal(one.p[own], other.p[own])
    assert not np.array_equal(one.p[~own], other.p[~own])


def test_nothing_of_the_test_is_read_before_the_look(
    made: Made, source: Source, mil: MilConfig, tmp_path: Path
) -> None:
    """With the test patients' features gone, training and choosing come to the same digest."""
    root, development = tmp_path / "prepared", development_of(source, "MSI")
    shutil.copytree(made.prepared, root)
    for patient in source.prepared.split.folds[0].test:
        for slide in source.slides(patient):
            (root / "features/SimCLR" / f"{slide}.npz").unlink()
    bare = Source(open_prepared(root), source.known)
    validation = held_out(bare, development, mil).validation
    told = made.record["heads"]["msi"]
    assert validation.digest == told["validation"]
    assert make_choice(validation, seed=mil.seed).digest == told["choice"]


def test_the_test_opens_for_one_choice_only(
    made: Made, source: Source, development: Development, mil: MilConfig
) -> None:
    """The same again is the same look; other targets come too late, in any later run."""
    validation = held_out(source, development, mil).validation
    candidate = Candidate(made.bundle, OnnxBackend(made.bundle, threads=1))
    head = made.bundle.contract.heads[0]
    choice = make_choice(validation, seed=mil.seed)
    again = look_at_test(candidate, head, source, choice, "MSI")
    assert again.evaluated.look == 1
    assert again.evaluated.predictions.digest == made.record["heads"]["msi"]["test"]["predictions"]
    other = make_choice(validation, targets=Targets(sensitivity=0.6), seed=mil.seed)
    with pytest.raises(RequestInvalid, match="in knowledge of the test"):
        look_at_test(candidate, head, source, other, "MSI")
    assert len(again.slides) == sum(
        len(source.slides(name)) for name in source.prepared.split.folds[0].test
    )
