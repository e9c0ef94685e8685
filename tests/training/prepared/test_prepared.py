"""A prepared cohort reads the very bags that its features are listed with, or none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepsmile.bag import FeatureBag, save_bag
from deepsmile.contract import Encoder
from deepsmile_training.cohorts.cohort import Patient, make_cohort
from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.prepared.features import list_bags
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from tests.making import feature_contract

SLIDES = tuple(f"s{i}" for i in range(8))
CONTRACT = feature_contract().model_copy(
    update={"encoder": Encoder(name="little", sha256="1" * 64, feature_dim=3)}
)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    classes = ("no", "yes")
    patients = [
        Patient(name=f"p{i}", slides=(slide,), labels={"msi": classes[i % 2]})
        for i, slide in enumerate(SLIDES)
    ]
    cohort = make_cohort("little", patients, classes={"msi": classes})
    cohort.write(tmp_path / "cohort.json")
    plan = SplitPlan(folds=2, val_share=0.5, labels=("msi",))
    make_split(cohort, plan).write(tmp_path / "split.json")
    write_features(tmp_path, "SimCLR")
    return open_prepared(tmp_path)


def write_features(root: Path, name: str, scale: float = 1.0) -> None:
    folder = root / "features" / name
    folder.mkdir(parents=True, exist_ok=True)
    for index, slide in enumerate(SLIDES):
        write_bag(folder / f"{slide}.npz", index, scale)
    list_bags(folder, CONTRACT, SLIDES, {})


def write_bag(path: Path, seed: int, scale: float = 1.0) -> None:
    z = 1 + scale * np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)  # (N, H)
    cells = np.zeros((4, 2), np.int32)  # (N, 2)
    save_bag(FeatureBag(z, cells, (0, 0), (1, 1), f"{seed:064x}", CONTRACT.digest), path)


def train_part(prepared: Prepared) -> np.ndarray:
    labels = resolve_labels(prepared.cohort, prepared.split.folds[0], "msi")
    return prepared.labelled(prepared.feature_set("SimCLR", 0), labels, "train").bags.features


def test_features_are_known_by_the_content_of_their_bags(prepared: Prepared) -> None:
    folder = prepared.root / "features" / "SimCLR"
    before, features = prepared.feature_set("SimCLR", 0), train_part(prepared)
    list_bags(folder, CONTRACT, SLIDES, {})
    assert prepared.feature_set("SimCLR", 0).digest == before.digest
    write_features(prepared.root, "SimCLR", 2.0)
    after = prepared.feature_set("SimCLR", 0)
    assert after.digest != before.digest
    assert after.slides.keys() == before.slides.keys()
    np.testing.assert_allclose(train_part(prepared) - 1, 2 * (features - 1), rtol=1e-5)


def replace(bag: Path) -> None:
    write_bag(bag, seed=99)


def move_in(bag: Path) -> None:
    """One that is older than the list, of the same size."""
    bag.with_name("s4.npz").replace(bag)
    shutil.copy(bag, bag.with_name("s4.npz"))


def of_an_earlier_format(bag: Path) -> None:
    path = bag.with_name("features.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"slides": list(content["slides"])}))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (Path.unlink, "SimCLR: bags are gone or changed: s3$"),
        (replace, "SimCLR: bags are gone or changed: s3$"),
        (move_in, "SimCLR: bags are gone or changed: s3$"),
        (of_an_earlier_format, "SimCLR: features.json: slides: "),
    ],
)
def test_bags_that_are_not_those_listed_are_refused(
    prepared: Prepared, spoil: Callable[[Path], None], complaint: str
) -> None:
    """Also by a process that has read them before."""
    prepared.feature_set("SimCLR", 0)
    spoil(prepared.root / "features" / "SimCLR" / "s3.npz")
    with pytest.raises(CohortInvalid, match=complaint) as caught:
        prepared.feature_set("SimCLR", 0)
    assert "deepsmile-train features` again" in caught.value.hint


def test_features_that_tell_no_tile_from_another_are_refused(prepared: Prepared) -> None:
    write_features(prepared.root, "SimCLR", 0.0)
    with pytest.raises(CohortInvalid, match="SimCLR: all tiles of the train slides have the same"):
        train_part(prepared)


def test_an_extractor_of_each_fold_s_own_goes_before_one_for_all(prepared: Prepared) -> None:
    """RESOLUTIONS row 17: pre-trained without the fold's test patients, or not used."""
    write_features(prepared.root, "SimCLR@1")
    for fold in (0, 1):
        with pytest.raises(CohortInvalid, match="not for all: no SimCLR@0"):
            prepared.feature_set("SimCLR", fold)
    write_features(prepared.root, "SimCLR@0")
    assert prepared.extractors == ("SimCLR",)
    found = [prepared.feature_set("SimCLR", fold).folder for fold in (0, 1)]
    assert found == ["SimCLR@0", "SimCLR@1"]


def test_an_extraction_that_has_not_ended_is_not_passed_over(prepared: Prepared) -> None:
    for name in ("SimCLR@0", "SimCLR@1"):
        write_features(prepared.root, name)
    (prepared.root / "features" / "SimCLR@1" / "features.json").unlink()
    with pytest.raises(CohortInvalid, match="no features by SimCLR@1 for fold 1"):
        prepared.feature_set("SimCLR", 1)
