"""Looks: of a fixed test set every training of a table is one, and the cohort's folder knows."""

from pathlib import Path

import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.evidence.making import Tables, evaluate_tables
from deepsmile_training.evidence.points import TARGETS
from deepsmile_training.evidence.sealed import read_seal
from deepsmile_training.experiments.cells import HeadCell, run_cell
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import PoolSpec, Recipe
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from tests.training.experiments.conftest import LABELS, copied

pytestmark = pytest.mark.slow

QUICK = MilConfig(head=PoolSpec(kind="mean"), recipe=Recipe(epochs=1, learning_rate=0.01))
"""A learning rate of its own, so that no other test has run these cells."""


def folder_of(prepared: Prepared, label: str, fold: int, cells: Path) -> Path:
    """One cell, run."""
    cell = HeadCell(extractor="SimCLR", label=label, fold=fold, config=QUICK)
    return cells / run_cell(prepared, cell, cells).key


def test_each_training_counts_among_those_of_its_label(prepared: Prepared, tmp_path: Path) -> None:
    """Two folds of two labels; the evidence on the second says that another was before it."""
    cohort = copied(prepared, tmp_path / "prepared")
    before = len(read_seal(cohort.root).openings)
    folders = [folder_of(cohort, label, k, tmp_path) for label in LABELS for k in range(2)]
    openings = read_seal(cohort.root).openings[before:]
    assert [one.label for one in openings] == ["hrd", "hrd", "tp53", "tp53"]
    assert {len(one.patients) for one in openings} == {len(cohort.split.folds[0].test)}
    tables = Tables(folders[3] / "test.csv", folders[3] / "validation.csv")
    first, second = openings[2:]
    seal = read_seal(cohort.root)
    assert evaluate_tables(tables, TARGETS, seed=0)[0].look == seal.look_of(second)
    assert seal.look_of(second) == seal.look_of(first) + 1


def test_tables_made_again_find_the_cohort_where_it_is_now(
    prepared: Prepared, tmp_path: Path
) -> None:
    """A cell that is done is read back, and says anew where its test is kept."""
    former = copied(prepared, tmp_path / "former")
    folder = folder_of(former, "hrd", 0, tmp_path)
    openings = read_seal(former.root).openings
    moved = open_prepared(former.root.rename(tmp_path / "moved"))
    tables = Tables(folder / "test.csv", folder / "validation.csv")
    with pytest.raises(RequestInvalid, match="is gone"):
        evaluate_tables(tables, TARGETS, seed=0)
    result = (folder / "result.json").stat().st_mtime_ns
    assert folder_of(moved, "hrd", 0, tmp_path) == folder
    assert (folder / "result.json").stat().st_mtime_ns == result
    assert read_seal(moved.root).openings == openings
    assert evaluate_tables(tables, TARGETS, seed=0)[0].look == len(
        [one for one in openings if one.label == "hrd"]
    )


def test_a_nested_split_tests_everybody_and_seals_nobody(
    prepared: Prepared, tmp_path: Path
) -> None:
    root = copied(prepared, tmp_path / "prepared").root
    split = make_split(prepared.cohort, SplitPlan(folds=2, labels=LABELS))
    (root / "split.json").unlink()
    split.write(root / "split.json")
    before = read_seal(root)
    folder_of(open_prepared(root), "hrd", 0, tmp_path)
    assert read_seal(root) == before
