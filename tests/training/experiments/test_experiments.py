"""The paper's tables and figures on a small cohort, by the commands that anyone would type."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from deepsmile_training.cli.main import commands
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.experiments.cells import HeadCell, key_of, run_cell
from deepsmile_training.experiments.grids import DECAYS, RATES, grid_of
from deepsmile_training.experiments.running import run_cells
from deepsmile_training.experiments.tables import mean_and_deviation
from deepsmile_training.experiments.wish import Wish
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import PAPER, Recipe, VarMILSpec
from deepsmile_training.prepared.prepared import Prepared
from tests.training.experiments.conftest import FOLDS, LABELS

pytestmark = pytest.mark.slow

QUICK = MilConfig(head=VarMILSpec(), recipe=Recipe(learning_rate=5e-3, epochs=60, evaluate_every=5))
WISH = Wish(labels=("hrd", "tp53"), extractors=("ImageNet", "SimCLR"))


def command(*arguments: object) -> str:
    result = CliRunner().invoke(commands, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def cell(fold: int = 0, extractor: str = "SimCLR", **changes: object) -> HeadCell:
    config = QUICK.model_copy(update=changes)
    return HeadCell(extractor=extractor, label="hrd", fold=fold, config=config)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


def test_deviations_over_folds_are_the_published_kind() -> None:
    """RESOLUTIONS: mean and deviation of the paper reproduce with ddof 0 only."""
    mean, deviation = mean_and_deviation([0.7, 0.8, 0.9])
    assert mean == pytest.approx(0.8)
    assert deviation == pytest.approx(np.sqrt(0.02 / 3))


def test_a_cell_s_figures_are_those_of_its_predictions(prepared: Prepared, tmp_path: Path) -> None:
    result = run_cell(prepared, cell(), tmp_path)
    folder = tmp_path / key_of(prepared, cell())
    for part, auc in (("validation", result.validation_auc), ("test", result.test_auc)):
        table = pd.read_csv(folder / f"{part}.csv")
        assert roc_auc_score(table["y"], table["p"]) == pytest.approx(auc)
    fold = prepared.split.folds[0]
    assert set(table["patient"]) == set(fold.test)
    assert result.test_auc > 0.8, "the variance tells the label"


def test_a_cell_is_run_once(prepared: Prepared, tmp_path: Path) -> None:
    first = run_cell(prepared, cell(), tmp_path)
    path = tmp_path / key_of(prepared, cell()) / "result.json"
    before = path.stat().st_mtime_ns
    assert run_cell(prepared, cell(), tmp_path) == first
    assert path.stat().st_mtime_ns == before


def test_whatever_decides_a_cell_gives_it_another_folder(prepared: Prepared) -> None:
    others = [cell(1), cell(extractor="ImageNet"), cell(seed=1), cell(recipe=PAPER)]
    assert len({key_of(prepared, one) for one in (cell(), *others)}) == len(others) + 1
    plan = SplitPlan(kind="fixed-test", folds=FOLDS, labels=LABELS, seed=9)
    another = replace(prepared, split=make_split(prepared.cohort, plan))
    assert key_of(another, cell()) != key_of(prepared, cell())


@pytest.mark.slow
def test_folds_in_processes_give_the_same_numbers_as_one_after_the_other(
    prepared: Prepared, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    cells = [cell(fold) for fold in range(FOLDS)]
    alone = run_cells(prepared, cells, tmp_path / "one", 1, lambda: None)
    together = run_cells(prepared, cells, tmp_path / "two", 2, lambda: None)
    assert together == alone


def test_table_2_compares_extractors_and_methods(prepared: Prepared) -> None:
    grid = grid_of("2", prepared, WISH)
    methods = ("tile-supervised", "DeepMIL", "VarMIL")
    expected = {f"{name}, {each}" for name in WISH.extractors for each in methods}
    assert set(grid.rows) == expected
    assert grid.columns == WISH.labels
    assert len(grid.all_cells) == 6 * 2 * FOLDS


def test_table_b6_has_the_paper_s_rates_and_decays(prepared: Prepared) -> None:
    """Appendix B.2: a grid of five by five, and three higher rates with one decay."""
    grid = grid_of("B.6", prepared, replace(WISH, labels=("hrd",), extractors=("SimCLR",)))
    assert len(grid.cells) == 5 * len(DECAYS) + 3
    rates = {one.config.recipe.learning_rate for one in grid.all_cells if one.kind == "head"}
    assert rates == set(RATES)
    recipes = [one.config.recipe for one in grid.all_cells if one.kind == "head"]
    assert {(one.epochs, one.batch, one.tiles) for one in recipes} == {(8, 16, 500)}


def test_b4_and_b5_vary_what_they_say(prepared: Prepared) -> None:
    wish = replace(WISH, extractors=("SimCLR",))
    tiles = [one.config.recipe.tiles for one in grid_of("B.4", prepared, wish).all_cells]  # type: ignore[union-attr]
    assert set(tiles) == {None, 500, 50}
    five = grid_of("B.5", prepared, wish)
    batches = {(row, one.config.recipe.batch) for (row, _), c in five.cells.items() for one in c}
    assert batches == {("1", 1), ("4", 4), ("8", 8), ("16", 16)}


@pytest.mark.parametrize(
    ("table", "wish", "complaint"),
    [
        ("7", WISH, "no table 7"),
        ("B.6", WISH, "about one extractor"),
        ("B.6", replace(WISH, extractors=("SimCLR",)), "about one label"),
    ],
)
def test_a_wish_that_has_no_table_is_refused(
    prepared: Prepared, table: str, wish: Wish, complaint: str
) -> None:
    with pytest.raises(CohortInvalid, match=complaint):
        grid_of(table, prepared, wish)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["2", "B.3", "B.4", "B.5", "B.6"])
def test_every_table_runs(prepared: Prepared, out: Path, table: str) -> None:
    """With an epoch each; the tile-supervised cells are of table 2 and of B.3 alike, run once."""
    one = () if table in ("2", "B.3") else ("--extractor", "SimCLR")
    options = ("--label", "hrd", "--epochs", 1, "--tile-batch", 16, "--out", out, *one)
    told = command("table", table, prepared.root, *options)
    places = re.findall(r"\d+\.\d\d ± \d+\.\d\d", told)
    written = json.loads((out / f"table_{table}.json").read_text())
    assert (
        len(places)
        == len(written["places"])
        == {"2": 6, "B.3": 2, "B.6": 28}.get(table, {"B.4": 3, "B.5": 4}.get(table))
    )
    for place in written["places"]:
        assert len(place["folds"]) == FOLDS
    assert written["warnings"] == [], "tiles and features are of the same test patients"
    assert "(n " not in told
    assert (out / f"table_{table}.md").read_text().strip() in told


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["2", "3", "4", "5"])
def test_every_figure_of_a_cohort_is_drawn(prepared: Prepared, out: Path, figure: str) -> None:
    options = ("--label", "hrd", "--epochs", 1, "--tile-batch", 16, "--out", out)
    command("figure", figure, "--prepared", prepared.root, *options)
    drawn = (out / f"figure_{figure}.svg").read_text()
    assert "SimCLR, VarMIL" in drawn
    assert (out / f"figure_{figure}.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([cell().model_copy(update={"share": "0.55"})], id="a cell fails"),
        pytest.param([], id="Ctrl-C after the first"),
    ],
)
def test_what_ends_a_run_ends_what_waits(
    prepared: Prepared, tmp_path: Path, cells: list[HeadCell]
) -> None:
    """Two are running then, and the pool has taken up to three more."""

    def stop() -> None:
        raise KeyboardInterrupt

    others = [cell(seed=seed, recipe=Recipe(epochs=6)) for seed in range(16)]
    end = CohortInvalid if cells else KeyboardInterrupt
    advance = (lambda: None) if cells else stop
    with pytest.raises(end):
        run_cells(prepared, [*cells, *others], tmp_path, 2, advance)
    assert len(list(tmp_path.glob("*/result.json"))) < len(others) / 2


@pytest.mark.parametrize(
    ("runs", "complaint"),
    [
        (("a=run1", "run2"), "--run run2 is not NAME=FOLDER"),
        (("a=run1", "=run2"), "--run =run2 is not NAME=FOLDER"),
        (("a=run1", "a=run2"), "two runs are called a"),
    ],
)
def test_a_run_without_a_name_of_its_own_is_refused(
    tmp_path: Path, runs: tuple[str, str], complaint: str
) -> None:
    with pytest.raises(CohortInvalid, match=complaint):
        command("figure", "B.6", *[f"--run={each}" for each in runs], "--out", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("figure", ["B.6", "B.7"])
def test_losses_of_pre_training_runs_are_drawn(tmp_path: Path, figure: str) -> None:
    for name, first in (("simclr-500", 6.2), ("simclr-950", 6.9)):
        (tmp_path / name).mkdir()
        entries = [{"step": step, "loss": first - 0.1 * step} for step in range(1, 9)]
        batch = f"method: simclr\nbackbone: resnet18\nbatch: {name[-3:]}\nepochs: 1\n"
        (tmp_path / name / "config.yaml").write_text(batch)
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        (tmp_path / name / "metrics.jsonl").write_text(lines)
    runs = [f"--run={name}={tmp_path / name}" for name in ("simclr-500", "simclr-950")]
    command("figure", figure, *runs, "--out", tmp_path)
    drawn = (tmp_path / f"figure_{figure}.svg").read_text()
    assert "simclr-500, batch 500" in drawn
    assert "simclr-950, batch 950" in drawn
