"""The learning curve of a bundle: who was trained on, who was tested, and what the page says."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepsmile_training.bundling.development import Development, development_of
from deepsmile_training.bundling.learning import PROTOCOL, trainings_of_curve
from deepsmile_training.bundling.source import Source
from deepsmile_training.cohorts.labels import FoldLabels
from deepsmile_training.cohorts.splits import Fold
from deepsmile_training.mil.bags import Slide, pack
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.heads import Head
from deepsmile_training.mil.training import fit, predict
from tests.training.bundling.conftest import Made

pytestmark = pytest.mark.slow


def trained(
    source: Source, development: Development, train: tuple[str, ...], mil: MilConfig
) -> Head:
    """A head on these patients, by the bare API; fold 0 chooses its step."""
    fold = development.split[0]
    labels = FoldLabels(
        "MSI", development.classes, Fold(train=train, val=fold.val, test=fold.test), development.of
    )
    parts = [source.labelled(labels, part, mil) for part in ("train", "val")]
    return fit(mil.head, parts[0], validation=parts[1], recipe=mil.recipe, seed=mil.seed).head


@pytest.mark.parametrize("share", ["0.4", None])
def test_a_point_is_one_training_on_its_share_of_the_first_fold(
    made: Made, source: Source, mil: MilConfig, share: str | None
) -> None:
    """Trained anew, and tested patient by patient; all patients are the first served member."""
    development = development_of(source, "MSI")
    fold = development.split[0]
    names = fold.subsets[share] if share else fold.train
    known = tuple(name for name in names if name in development.of)
    head = trained(source, development, known, mil)
    y, p = [], []
    for patient in fold.test:
        bags = [bag for bag in source.bags(patient) if len(bag.features) >= 8]
        if bags:
            slides = [pack([Slide("s", patient, bag.features)]) for bag in bags]
            p.append(np.mean([predict(head, one)[0, 1] for one in slides]))
            y.append(source.prepared.cohort.by_name[patient].labels["MSI"] == "msi")
    point = next(one for one in made.report("msi")["learning"] if one["trained_on"] == len(known))
    assert point["auroc"]["value"] == pytest.approx(roc_auc_score(y, p))


@pytest.mark.parametrize("name", ["msi", "mhrd"])
def test_points_count_who_was_trained_on(made: Made, source: Source, name: str) -> None:
    """Shares that lack a class are left out, shares of one size stand once, all are the last."""
    label = {"msi": "MSI", "mhrd": "mHRD"}[name]
    development = development_of(source, label)
    fold, sizes = development.split[0], set()
    for names in (*fold.subsets.values(), fold.train):
        classes = [development.of[one] for one in names if one in development.of]
        if len(set(classes)) == 2:
            sizes.add(len(classes))
    told = [point["trained_on"] for point in made.report(name)["learning"]]
    assert told == sorted(sizes)
    assert len(told) > 6
    assert told[-1] == len(development.served(0).patients("train"))


def test_the_page_says_what_the_curve_is(made: Made) -> None:
    text = (made.evidence / "crc-msi.msi.evidence.html").read_text()
    assert "Learning curve" in text
    assert "One training per size." in text
    assert PROTOCOL.strip() in made.report("msi")["protocol"]


def test_a_split_without_subsets_has_no_curve(made: Made, source: Source) -> None:
    development = development_of(source, "MSI")
    folds = tuple(fold.model_copy(update={"subsets": {}}) for fold in development.split)
    assert trainings_of_curve(replace(development, split=folds)) == ()


def test_no_test_patient_is_trained_on(source: Source) -> None:
    development = development_of(source, "MSI")
    fold = development.split[0]
    for labels in trainings_of_curve(development):
        assert set(labels.patients("train")) < set(fold.train)
        assert labels.patients("val") == development.served(0).patients("val")
        assert not labels.patients("test")
