"""What cannot be trained is refused before anything is, and what can be makes its rows."""

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepsmile.errors import RequestInvalid
from deepsmile_training.cli.main import commands
from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import Split
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.experiments.grids import grid_of
from deepsmile_training.experiments.wish import Wish
from deepsmile_training.prepared.prepared import Prepared
from tests.training.experiments.conftest import FOLDS, copied

pytestmark = pytest.mark.slow

HRD = Wish(labels=("hrd",))
EVERY = {
    f"{name}, {method}"
    for name in ("ImageNet", "SimCLR")
    for method in ("tile-supervised", "DeepMIL", "VarMIL")
}
OF_TILES = {row for row in EVERY if "tile" in row}


def command(*arguments: object) -> None:
    CliRunner().invoke(commands, [str(a) for a in arguments], catch_exceptions=False)


def without(prepared: Prepared, root: Path, *folders: str) -> Prepared:
    made = copied(prepared, root)
    for folder in folders:
        shutil.rmtree(root / folder)
    return made


@pytest.mark.parametrize(
    ("absent", "extractors", "rows"),
    [
        ((), (), EVERY),
        (("features",), (), OF_TILES),
        (("features",), ("ImageNet",), {"ImageNet, tile-supervised"}),
        (("features/ImageNet",), (), EVERY - {"ImageNet, DeepMIL", "ImageNet, VarMIL"}),
        (("tiles",), (), EVERY - OF_TILES),
        (("encoders",), ("SimCLR",), {"SimCLR, DeepMIL", "SimCLR, VarMIL"}),
    ],
)
def test_an_extractor_has_the_rows_that_it_can_have(
    prepared: Prepared,
    tmp_path: Path,
    absent: tuple[str, ...],
    extractors: tuple[str, ...],
    rows: set[str],
) -> None:
    """The fourth is the paper's own for MSI: of ImageNet the baseline alone (table 2)."""
    made = without(prepared, tmp_path / "prepared", *absent)
    assert set(grid_of("2", made, replace(HRD, extractors=extractors)).rows) == rows


@pytest.mark.parametrize(
    "given",
    [
        ("table", "2", "PREPARED"),
        ("table", "heads", "PREPARED"),
        ("table", "B.6", "PREPARED", "--label", "hrd"),
        ("figure", "2", "--prepared", "PREPARED"),
        ("figure", "5", "--prepared", "PREPARED"),
        ("figure", "learning", "--prepared", "PREPARED"),
    ],
    ids=lambda given: " ".join(given[:2]),
)
def test_a_table_of_no_rows_is_refused_with_what_is_needed(
    prepared: Prepared, tmp_path: Path, given: tuple[str, ...]
) -> None:
    made = without(prepared, tmp_path / "prepared", "features", "tiles")
    arguments = [str(made.root) if each == "PREPARED" else each for each in given]
    with pytest.raises(CohortInvalid, match="has no features, so the table has no rows") as caught:
        command(*arguments, "--out", tmp_path / "out")
    assert f"deepsmile-train features {made.root} SLIDES" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "extractor", "absent", "complaint"),
    [
        ("2", "BYOL", "features/ImageNet", "no features by BYOL for fold 0; there are: SimCLR"),
        ("2", "ImageNet", "encoders", "no features by ImageNet for fold 0"),
        ("heads", "ImageNet", "encoders", "no features by ImageNet for fold 0"),
        ("B.3", "BYOL", "encoders", "no encoder BYOL for fold 0; there are: none"),
        ("B.3", "ImageNet", "tiles", "no tile store"),
    ],
)
def test_what_is_not_there_for_a_named_extractor_is_told(
    prepared: Prepared, tmp_path: Path, table: str, extractor: str, absent: str, complaint: str
) -> None:
    made = without(prepared, tmp_path / "prepared", absent)
    shutil.rmtree(made.root / "features" / "ImageNet", ignore_errors=True)
    with pytest.raises(RequestInvalid, match=complaint):
        grid_of(table, made, replace(HRD, extractors=(extractor,)))


def test_a_store_that_is_not_complete_is_no_reason_to_leave_rows_out(
    prepared: Prepared, tmp_path: Path
) -> None:
    made = copied(prepared, tmp_path / "prepared")
    file = made.root / "tiles" / "store.json"
    content = file.read_text()
    assert '"complete":true' in content.replace(" ", "")
    file.unlink()
    file.write_text(content.replace("true", "false", 1))
    with pytest.raises(RequestInvalid, match="a tile store that is not complete"):
        grid_of("2", made, HRD)


def without_val(prepared: Prepared, label: str, value: str) -> Prepared:
    """In the last fold, who validates and is of this class trains instead."""
    *others, last = prepared.split.folds
    of = prepared.cohort.by_name
    moved = [name for name in last.val if of[name].labels[label] == value]
    changed = last.model_copy(
        update={
            "train": tuple(sorted([*last.train, *moved])),
            "val": tuple(name for name in last.val if name not in moved),
        }
    )
    folds = [*others, changed]
    content = prepared.split.model_dump() | {"folds": folds}
    return replace(prepared, split=Split.model_validate(content))


@pytest.mark.parametrize("table", ["2", "B.3", "learning"])
def test_a_label_without_a_class_is_refused_and_the_others_named(
    prepared: Prepared, table: str
) -> None:
    made = without_val(prepared, "tp53", "yes")
    wish = Wish(labels=("hrd", "tp53"), extractors=("SimCLR",))
    with pytest.raises(CohortInvalid, match="label tp53: no val patient is yes") as caught:
        grid_of(table, made, wish)
    assert caught.value.hint.endswith("Or go on without it: --label hrd.")
    assert grid_of(table, made, replace(wish, labels=("hrd",))).columns == ("hrd",)
    with pytest.raises(CohortInvalid) as caught:
        grid_of(table, made, replace(wish, labels=("tp53",)))
    assert "--label" not in caught.value.hint


def test_a_cohort_without_labels_is_refused(prepared: Prepared) -> None:
    with pytest.raises(CohortInvalid, match="cohort little has no label"):
        grid_of("2", prepared, Wish(labels=()))


def with_slides_renamed(prepared: Prepared, patients: Collection[str]) -> Prepared:
    """These patients' slides have neither features nor tiles."""
    changed = [
        one.model_copy(update={"slides": (f"other-{one.name}",)}) if one.name in patients else one
        for one in prepared.cohort.patients
    ]
    content = prepared.cohort.model_dump() | {"patients": changed}
    return replace(prepared, cohort=Cohort.model_validate(content))


@pytest.mark.parametrize(
    ("table", "what", "made_by"),
    [("heads", "features by SimCLR", "features"), ("B.3", "tiles", "tiles")],
)
def test_a_part_whose_class_has_no_features_or_tiles_is_refused(
    prepared: Prepared, table: str, what: str, made_by: str
) -> None:
    tested = prepared.split.folds[0].test
    lost = [name for name in tested if prepared.cohort.by_name[name].labels["hrd"] == "no"]
    made, wish = with_slides_renamed(prepared, lost), replace(HRD, extractors=("SimCLR",))
    complaint = f"label hrd, fold 0: no test slide with {what} is no"
    with pytest.raises(CohortInvalid, match=complaint) as caught:
        grid_of(table, made, wish)
    assert f"`deepsmile-train {made_by}`" in caught.value.hint
    assert grid_of(table, with_slides_renamed(prepared, lost[1:]), wish).all_cells


@pytest.mark.parametrize("figure", ["3", "4", "5"])
def test_roc_curves_of_three_classes_are_refused_before_a_training(
    prepared: Prepared, tmp_path: Path, figure: str
) -> None:
    made, grades = copied(prepared, tmp_path / "prepared"), ("low", "middle", "high")
    of = {patient.name: grades[i % 3] for i, patient in enumerate(prepared.cohort.patients)}
    cohort = prepared.cohort.with_label("grade", grades, of)
    cohort.write(made.root / "cohort.json")
    plan = SplitPlan(kind="fixed-test", folds=FOLDS, labels=("grade",))
    make_split(cohort, plan).write(made.root / "split.json")
    given = ("--prepared", made.root, "--label", "grade", "--epochs", 1, "--out", tmp_path / "out")
    with pytest.raises(CohortInvalid, match="label grade has 3 classes: low, middle,") as caught:
        command("figure", figure, *given)
    assert "figure 2" in caught.value.hint
    assert not (tmp_path / "out").exists()
