"""What a table is made of, by whose recipe, and what it says when its rows do not compare."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from deepsmile.errors import RequestInvalid
from deepsmile_training.cli.main import commands
from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.encoders.checkpoint import save_checkpoint
from deepsmile_training.encoders.tile_encoder import make_encoder
from deepsmile_training.experiments.cells import Cell, HeadCell, Result, TileCell, key_of
from deepsmile_training.experiments.grids import Grid, grid_of
from deepsmile_training.experiments.running import run_cells
from deepsmile_training.experiments.starts import start_path
from deepsmile_training.experiments.tables import markdown, warnings_of, write_table
from deepsmile_training.experiments.wish import Wish, recipe_for
from deepsmile_training.mil import recipe as heads
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import PoolSpec, Recipe
from deepsmile_training.prepared.prepared import Prepared
from deepsmile_training.supervised import recipe as tiles
from tests.training.experiments.conftest import FOLDS, LABELS, copied, without_slides

pytestmark = pytest.mark.slow

BOTH = Wish(labels=("hrd",), extractors=("ImageNet", "SimCLR"))
ONE = replace(BOTH, extractors=("SimCLR",))
PLAN = SplitPlan(kind="fixed-test", folds=FOLDS, labels=LABELS)
DRAWN = "at most 500 tiles of a slide, in validation and test too"
AUC = r"\d+\.\d\d ± \d+\.\d\d"


def command(*arguments: object) -> str:
    result = CliRunner().invoke(commands, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def of_heads(grid: Grid) -> list[HeadCell]:
    return [cell for cell in grid.all_cells if isinstance(cell, HeadCell)]


def of_tiles(grid: Grid) -> list[TileCell]:
    return [cell for cell in grid.all_cells if isinstance(cell, TileCell)]


def renamed(prepared: Prepared, root: Path, name: str) -> Prepared:
    """Another name makes it another cohort, with a split of its own."""
    made = copied(prepared, root)
    content = prepared.cohort.model_dump() | {"name": name}
    cohort = Cohort.model_validate(content)
    split = make_split(cohort, PLAN)
    cohort.write(root / "cohort.json")
    split.write(root / "split.json")
    return replace(made, cohort=cohort, split=split)


@pytest.mark.parametrize(
    ("recipe", "of_head", "of_tile"),
    [
        ("paper-tcga-bc", (500, 5, 16, 5e-4), (500, 5e-5, 512, 4, "share")),
        ("paper-tcga-crck", (None, 10, 16, 5e-4), (None, 1e-6, 256, 50, "share")),
        ("hissl", (None, 0.1, 1, 1e-3), (None, 5e-5, 512, 4, "mean")),
    ],
)
def test_one_name_chooses_both_recipes(
    prepared: Prepared, recipe: str, of_head: object, of_tile: object
) -> None:
    """Sections 4.2.1 and 4.2.2; RESOLUTIONS rows 6 to 9, 19 and 20."""
    grid = grid_of("2", prepared, replace(BOTH, recipe=recipe))
    found = {one.config.recipe for one in of_heads(grid)}
    assert {(r.tiles, r.evaluate_every, r.batch, r.learning_rate) for r in found} == {of_head}
    kept = {one.config for one in of_tiles(grid)}
    assert {(r.tiles, r.learning_rate, r.batch, r.epochs, r.vote) for r in kept} == {of_tile}
    assert f"recipe {recipe}" in grid.title


def test_every_recipe_is_one_of_both() -> None:
    assert list(heads.PRESETS) == list(tiles.PRESETS)


def test_the_searches_change_the_recipe_by_their_captions_alone(prepared: Prepared) -> None:
    (recipe,) = {
        one.config.recipe
        for one in of_heads(grid_of("B.6", prepared, replace(ONE, recipe="paper-tcga-crck")))
        if (one.config.recipe.learning_rate, one.config.recipe.weight_decay) == (5e-4, 1e-4)
    }
    assert recipe == Recipe(tiles=None, evaluate_every=10, epochs=8, standardise=False)


def test_an_unknown_recipe_is_refused(prepared: Prepared) -> None:
    with pytest.raises(RequestInvalid, match="no recipe 'kather'") as caught:
        grid_of("2", prepared, replace(BOTH, recipe="kather"))
    assert "paper-tcga-bc, paper-tcga-crck, hissl" in caught.value.hint


def test_a_cohort_of_the_paper_gets_its_own_recipe(prepared: Prepared, tmp_path: Path) -> None:
    """Section 4.2.2: all tiles, evaluated every 10 steps; another name may be given."""
    crck = renamed(prepared, tmp_path / "crck", "tcga-crck")
    assert recipe_for(prepared.cohort) == "paper-tcga-bc"
    options = ("--label", "hrd", "--extractor", "SimCLR", "--epochs", 1, "--out", tmp_path)
    told = command("table", "heads", crck.root, *options)
    assert "recipe paper-tcga-crck, epochs 1" in told
    places = json.loads((tmp_path / "table_heads.json").read_text())["places"]
    recipes = [fold["cell"]["config"]["recipe"] for place in places for fold in place["folds"]]
    assert {(each["tiles"], each["evaluate_every"]) for each in recipes} == {(None, 10)}
    assert len(re.findall(AUC, told)) == 7
    named = grid_of("heads", crck, replace(ONE, recipe="hissl"))
    assert {one.config.recipe for one in of_heads(named)} == {heads.PRESETS["hissl"]}


def test_all_heads_are_compared_and_the_first_two_are_table_2_s(prepared: Prepared) -> None:
    grid = grid_of("heads", prepared, ONE)
    kinds = [
        (one.config.head.kind, getattr(one.config.head, "spread", None)) for one in of_heads(grid)
    ]
    assert kinds[::FOLDS] == [
        ("deepmil", None),
        ("varmil", "variance"),
        ("varmil", "std"),
        ("gated", None),
        ("mean", None),
        ("max", None),
        ("transmil", None),
    ]
    paper = grid_of("2", prepared, BOTH)
    for method in ("DeepMIL", "VarMIL"):
        assert grid.cells[method, "hrd"] == paper.cells[f"SimCLR, {method}", "hrd"]
    with pytest.raises(CohortInvalid, match="about one extractor"):
        grid_of("heads", prepared, BOTH)


def test_another_seed_is_told_and_trains_anew(prepared: Prepared) -> None:
    first, other = (grid_of("2", prepared, replace(BOTH, seed=seed)) for seed in (0, 7))
    assert first.title.endswith(f"(recipe paper-tcga-bc; {DRAWN})")
    assert other.title.endswith(f"(recipe paper-tcga-bc, seed 7; {DRAWN})")
    assert not set(first.all_cells) & set(other.all_cells)


def test_a_title_tells_where_figures_are_not_of_whole_slides(prepared: Prepared) -> None:
    """RESOLUTIONS row 19: the paper draws 500 tiles once, and tests on them; table B.4 draws 50."""
    whole = grid_of("2", prepared, replace(BOTH, recipe="paper-tcga-crck"))
    assert whole.title.endswith("(recipe paper-tcga-crck)")
    searched = grid_of("B.4", prepared, ONE)
    assert "; at most 500 or 50 tiles of a slide, in validation and test too)" in searched.title


def test_vote_and_bags_reach_the_rows_that_they_are_about(prepared: Prepared) -> None:
    """RESOLUTIONS rows 18 and 20."""
    grid = grid_of("2", prepared, replace(BOTH, vote="mean", one_bag=True))
    assert {one.config.vote for one in of_tiles(grid)} == {"mean"}
    assert {one.config.by_patient for one in of_heads(grid)} == {True}
    told = "recipe paper-tcga-bc, vote mean, one bag per patient"
    assert grid.title.endswith(f"({told}; {DRAWN})")
    with pytest.raises(CohortInvalid, match=r"table B\.4 has no tile-supervised row"):
        grid_of("B.4", prepared, replace(ONE, vote="mean"))
    with pytest.raises(CohortInvalid, match=r"table B\.3 has no heads"):
        grid_of("B.3", prepared, replace(ONE, one_bag=True))


def test_heads_get_standardised_features_where_it_is_wished(prepared: Prepared) -> None:
    """RESOLUTIONS row 23: the paper's recipes and the authors' take features as they are."""
    for recipe in heads.PRESETS:
        plain = grid_of("2", prepared, replace(BOTH, recipe=recipe))
        assert {one.config.recipe.standardise for one in of_heads(plain)} == {False}
        changed = grid_of("2", prepared, replace(BOTH, recipe=recipe, standardise=True))
        assert {one.config.recipe.standardise for one in of_heads(changed)} == {True}
        assert of_tiles(changed) == of_tiles(plain)
        assert f"(recipe {recipe}, standardised features" in changed.title
    with pytest.raises(CohortInvalid, match=r"table B\.3 has no heads"):
        grid_of("B.3", prepared, replace(ONE, standardise=True))


def test_the_commands_take_vote_and_bags(prepared: Prepared, tmp_path: Path) -> None:
    options = ("--label", "hrd", "--extractor", "SimCLR", "--epochs", 1, "--tile-batch", 16)
    both = ("--vote", "mean", "--one-bag", "--standardise", "--out", tmp_path)
    told = command("table", "2", prepared.root, *options, *both)
    assert "vote mean, one bag per patient, standardised features" in told
    cells = sorted((tmp_path / "cells").iterdir())
    command("figure", "3", "--prepared", prepared.root, *options, *both)
    assert sorted((tmp_path / "cells").iterdir()) == cells, "the figure is of the same trainings"


def quick(extractor: str, fold: int) -> HeadCell:
    config = MilConfig(head=PoolSpec(kind="mean"), recipe=Recipe(epochs=1))
    return HeadCell(extractor=extractor, label="hrd", fold=fold, config=config)


def rows_of(prepared: Prepared, out: Path) -> tuple[Grid, dict[Cell, Result]]:
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {
        (name, "hrd"): tuple(quick(name, fold) for fold in range(FOLDS))
        for name in ("ImageNet", "SimCLR")
    }
    grid = Grid("t", ("ImageNet", "SimCLR"), ("hrd",), cells)
    return grid, run_cells(prepared, grid.all_cells, out / "cells", 1, lambda: None)


def test_rows_of_other_patients_are_not_printed_alike(prepared: Prepared, tmp_path: Path) -> None:
    test = prepared.split.folds[0].test
    lost = [slide for name in test[:4] for slide in prepared.cohort.by_name[name].slides]
    fewer = without_slides(prepared, tmp_path / "prepared", lost)
    grid, results = rows_of(fewer, tmp_path)
    told = markdown(grid, results)
    every, some = len(test), len(test) - 4
    assert re.search(rf"\| ImageNet \| {AUC} \(n {every}\) \|", told)
    assert re.search(rf"\| SimCLR \| {AUC} \(n {some}\) \|", told)
    warning = f"hrd do not compare. They were tested on different patients (n {some} to {every},"
    assert warning in told
    write_table(grid, results, tmp_path / "table")
    written = json.loads((tmp_path / "table.json").read_text())
    assert [warning in each for each in written["warnings"]] == [True]
    assert [place["test_patients"] for place in written["places"]] == [every, some]


def test_as_many_but_other_patients_do_not_compare_either(prepared: Prepared) -> None:
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {
        (name, "hrd"): (quick(name, 0),) for name in ("ImageNet", "SimCLR")
    }
    grid = Grid("t", ("ImageNet", "SimCLR"), ("hrd",), cells)
    results: dict[Cell, Result] = {
        cell: Result(
            cell=cell,
            made_from="",
            patients={"train": (1, 1), "val": (1, 1), "test": (3, 4)},
            tested=tested,
            best_step=1,
            validation_auc=1,
            test_auc=0.5,
        )
        for ((cell,), tested) in zip(cells.values(), ("a", "b"), strict=True)
    }
    assert "n 7 to 7" in warnings_of(grid, results)["hrd"]


def with_encoders(prepared: Prepared, root: Path, *names: str) -> Prepared:
    made = copied(prepared, root)
    for path in (root / "encoders").iterdir():
        path.unlink()
    for seed, name in enumerate(names):
        save_checkpoint(make_encoder("shufflenet_v2_x0_5", seed), root / "encoders" / f"{name}.pt")
    return made


def test_encoders_of_each_fold_make_rows(prepared: Prepared, tmp_path: Path) -> None:
    """RESOLUTIONS row 17: a fold's encoder has not seen its test patients."""
    made = with_encoders(prepared, tmp_path / "prepared", "SimCLR@0", "SimCLR@1")
    assert "SimCLR, tile-supervised" in grid_of("2", made, BOTH).rows
    assert "ImageNet, tile-supervised" not in grid_of("2", made, BOTH).rows
    grid = grid_of("B.3", made, replace(BOTH, extractors=()))
    assert grid.rows == ("SimCLR",)
    starts = [start_path(made, one.extractor, one.fold).name for one in of_tiles(grid)]
    assert starts == ["SimCLR@0.pt", "SimCLR@1.pt"]
    before = [key_of(made, one) for one in of_tiles(grid)]
    (made.root / "encoders" / "SimCLR@1.pt").unlink()
    save_checkpoint(make_encoder("shufflenet_v2_x0_5", 9), made.root / "encoders" / "SimCLR@1.pt")
    after = [key_of(made, one) for one in of_tiles(grid)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]


@pytest.mark.parametrize("table", ["2", "B.3"])
def test_a_fold_without_its_encoder_is_refused_before_anything_is_trained(
    prepared: Prepared, tmp_path: Path, table: str
) -> None:
    made = with_encoders(prepared, tmp_path / "prepared", "SimCLR@0", "SimCLR")
    with pytest.raises(CohortInvalid, match="not for all: no SimCLR@1"):
        grid_of(table, made, ONE)


def test_an_encoder_that_is_not_there_is_named(prepared: Prepared) -> None:
    with pytest.raises(CohortInvalid, match="no encoder BYOL for fold 0; there are: ImageNet, Sim"):
        start_path(prepared, "BYOL", 0)


def test_a_table_leads_to_the_evidence_on_each_fold(prepared: Prepared, tmp_path: Path) -> None:
    grid, results = rows_of(prepared, tmp_path)
    write_table(grid, results, tmp_path / "table_2")
    for place in json.loads((tmp_path / "table_2.json").read_text())["places"]:
        for fold in place["folds"]:
            table = pd.read_csv(tmp_path / fold["folder"] / "test.csv")
            assert roc_auc_score(table["y"], table["p"]) == pytest.approx(fold["test_auc"])
            assert set(table["part"]) == {"test"}
            wards = [prepared.cohort.by_name[name].strata["ward"] for name in table["patient"]]
            assert table["ward"].tolist() == wards
    chosen = tmp_path / fold["folder"]
    assert set(pd.read_csv(chosen / "validation.csv")["part"]) == {"validation"}
    options = ("--validation", chosen / "validation.csv", "--out", tmp_path / "report.html")
    assert "AUROC" in command("evidence", chosen / "test.csv", *options)
    subgroups = json.loads((tmp_path / "report.json").read_text())["subgroups"]
    assert {each["column"] for each in subgroups} == {"ward"}
