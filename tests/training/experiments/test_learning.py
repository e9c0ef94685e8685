"""Learning curves: only the training shrinks, and what is counted is what was trained on."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from deepsmile_training.cli.main import commands
from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import Split
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.experiments.cells import Cell, HeadCell, Result, key_of, run_cell
from deepsmile_training.experiments.figures import learning_curves
from deepsmile_training.experiments.grids import Grid, grid_of
from deepsmile_training.experiments.wish import Wish
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import Recipe
from deepsmile_training.prepared.prepared import Prepared
from tests.training.experiments.conftest import FOLDS, LABELS, without_slides
from tests.training.experiments.results import made_up

pytestmark = pytest.mark.slow

QUICK = MilConfig(recipe=Recipe(learning_rate=5e-3, epochs=10, evaluate_every=5))
WISH = Wish(labels=("hrd", "tp53"), extractors=("SimCLR",), epochs=2)
PLAN = SplitPlan(kind="fixed-test", folds=FOLDS, labels=LABELS)


def cell(share: str | None = None, fold: int = 0, label: str = "hrd") -> HeadCell:
    return HeadCell(extractor="SimCLR", label=label, fold=fold, config=QUICK, share=share)


def counted(prepared: Prepared, names: tuple[str, ...], label: str) -> tuple[int, int]:
    """Patients of either class, one after the other."""
    values = [prepared.cohort.by_name[name].labels[label] for name in names]
    return values.count("no"), values.count("yes")


def with_subsets(prepared: Prepared, *subsets: dict[str, tuple[str, ...]]) -> Prepared:
    """Each fold with subsets of its own."""
    folds = [
        fold.model_copy(update={"subsets": its})
        for fold, its in zip(prepared.split.folds, subsets, strict=True)
    ]
    split = Split.model_validate(prepared.split.model_dump() | {"folds": folds})
    return replace(prepared, split=split)


def some_of(prepared: Prepared, fold: int, label: str, *values: str) -> tuple[str, ...]:
    """A fold's first training patients of these classes."""
    names, chosen = prepared.split.folds[fold].train, []
    for value in values:
        own = [name for name in names if prepared.cohort.by_name[name].labels[label] == value]
        chosen.append(next(name for name in own if name not in chosen))
    return tuple(chosen)


def test_only_the_training_shrinks(prepared: Prepared, tmp_path: Path) -> None:
    fold = prepared.split.folds[0]
    whole, half = (run_cell(prepared, cell(share), tmp_path) for share in (None, "0.5"))
    assert half.patients["train"] == counted(prepared, fold.subsets["0.5"], "hrd")
    assert whole.patients["train"] == counted(prepared, fold.train, "hrd")
    for part in ("val", "test"):
        assert half.patients[part] == whole.patients[part]
        assert half.patients[part] == counted(prepared, fold.part(part), "hrd")  # type: ignore[arg-type]
    tables = [
        pd.read_csv(tmp_path / key_of(prepared, cell(share)) / "test.csv")
        for share in (None, "0.5")
    ]
    assert tables[0]["patient"].tolist() == tables[1]["patient"].tolist()
    assert (tables[0]["p"] != tables[1]["p"]).any()


def test_a_subset_of_all_patients_is_the_plain_cell(prepared: Prepared, tmp_path: Path) -> None:
    """Trained once more as a subset: the same step, figures and predictions, bit by bit."""
    plain, subset = (run_cell(prepared, cell(share), tmp_path) for share in (None, "1.0"))
    assert plain.model_dump(exclude={"cell"}) == subset.model_dump(exclude={"cell"})
    for part in ("validation", "test"):
        texts = {
            (tmp_path / key_of(prepared, cell(share)) / f"{part}.csv").read_bytes()
            for share in (None, "1.0")
        }
        assert len(texts) == 1


def test_a_slide_without_features_is_not_counted(prepared: Prepared, tmp_path: Path) -> None:
    fold = prepared.split.folds[0]
    lost = prepared.cohort.by_name[fold.subsets["0.5"][0]].slides
    fewer = without_slides(prepared, tmp_path / "prepared", lost)
    result = run_cell(fewer, cell("0.5"), tmp_path / "cells")
    assert result.patients["train"] == counted(prepared, fold.subsets["0.5"][1:], "hrd")


def test_rows_are_shares_that_can_be_trained_on_and_all(prepared: Prepared) -> None:
    grid = grid_of("learning", prepared, WISH)
    assert grid.columns == WISH.labels
    for label in WISH.labels:
        folds = [resolve_labels(prepared.cohort, one, label) for one in prepared.split.folds]
        fit = [
            share
            for share in prepared.split.folds[0].subsets
            if all(0 not in counted(prepared, one.fold.subsets[share], label) for one in folds)
        ]
        expected = [f"{round(100 * float(share))} %" for share in fit if share != "1.0"]
        assert [row for row, column in grid.cells if column == label] == [*expected, "100 %"]
        assert len(expected) > 5
    assert grid.rows[-1] == "100 %"
    paper = grid_of("2", prepared, WISH)
    for label in WISH.labels:
        assert grid.cells["100 %", label] == paper.cells["SimCLR, VarMIL", label]


def test_shares_stand_in_the_order_of_their_size(prepared: Prepared) -> None:
    """Imported splits list them as text, and folds may have others."""
    train = [one.train for one in prepared.split.folds]
    both = [some_of(prepared, fold, "hrd", "no", "yes") for fold in range(FOLDS)]
    made = with_subsets(
        prepared,
        {"1.0": train[0], "0.5": both[0], "0.125": both[0], "0.3": both[0]},
        {"1.0": train[1], "0.5": both[1], "0.125": both[1]},
    )
    grid = grid_of("learning", made, replace(WISH, labels=("hrd",)))
    assert grid.rows == ("12.5 %", "50 %", "100 %")
    shares = [one.share for one in grid.all_cells if one.kind == "head"]
    assert shares == ["0.125"] * FOLDS + ["0.5"] * FOLDS + [None] * FOLDS


def test_a_split_without_subsets_is_refused_with_the_command_for_them(prepared: Prepared) -> None:
    bare = replace(prepared, split=make_split(prepared.cohort, PLAN))
    with pytest.raises(CohortInvalid, match="no subsets of the training patients") as caught:
        grid_of("learning", bare, WISH)
    assert f"deepsmile-train split {prepared.root}/cohort.json" in caught.value.hint
    assert "--plan kind=fixed-test --plan subsets=true" in caught.value.hint
    more = make_split(prepared.cohort, PLAN.model_copy(update={"subsets": True}))
    for old, new in zip(bare.split.folds, more.folds, strict=True):
        assert (old.train, old.val, old.test) == (new.train, new.val, new.test)


def test_subsets_of_one_class_give_no_curve(prepared: Prepared) -> None:
    lone = [{"0.5": some_of(prepared, fold, "hrd", "no")} for fold in range(FOLDS)]
    with pytest.raises(CohortInvalid, match="no subsets with every class in every fold"):
        grid_of("learning", with_subsets(prepared, *lone), replace(WISH, labels=("hrd",)))


def test_a_curve_is_of_one_extractor(prepared: Prepared) -> None:
    with pytest.raises(CohortInvalid, match="about one extractor"):
        grid_of("learning", prepared, replace(WISH, extractors=("ImageNet", "SimCLR")))


def test_an_unknown_share_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(CohortInvalid, match=r"no subset 0\.55"):
        run_cell(prepared, cell("0.55"), tmp_path)


def test_the_figure_has_means_and_deviations_over_folds() -> None:
    """Two folds of 9 and 11 and then of 39 patients, AUC 0.5, 0.7 and then 0.8."""
    small, large = ((cell(share, 0), cell(share, 1)) for share in ("0.2", None))
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {
        ("20 %", "hrd"): small,
        ("100 %", "hrd"): large,
    }
    results: dict[Cell, Result] = {
        small[0]: made_up(small[0], 0.5, 8),
        small[1]: made_up(small[1], 0.7, 10),
        **{one: made_up(one, 0.8, 38) for one in large},
    }
    figure = learning_curves(Grid("t", ("20 %", "100 %"), ("hrd",), cells), results)
    (ax,) = figure.axes
    line, _, (bars,) = ax.containers[0]
    np.testing.assert_allclose(line.get_xydata(), [[10, 60], [39, 80]])
    spans = [segment[:, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(spans, [[50, 70], [80, 80]])
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["10", "39"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["hrd"]
    assert ax.get_legend().get_title().get_text() == "mean ± s.d. over 2 folds"
    assert figure.get_supxlabel() == "Dots and bars: mean ± s.d. over 2 folds. t."


def command(*arguments: object) -> str:
    result = CliRunner().invoke(commands, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_make_table_and_figure_of_the_same_trainings(
    prepared: Prepared, tmp_path: Path
) -> None:
    options = ("--extractor", "SimCLR", "--label", "tp53", "--epochs", 1, "--out", tmp_path)
    told = command("table", "learning", prepared.root, *options)
    places = json.loads((tmp_path / "table_learning.json").read_text())["places"]
    assert len(re.findall(r"\d+\.\d\d ± \d+\.\d\d", told)) == len(places) > 5
    for place in places:
        share = float(place["row"].removesuffix(" %")) / 100
        for fold, result in zip(prepared.split.folds, place["folds"], strict=True):
            names = fold.subsets[f"{share}"]
            assert tuple(result["patients"]["train"]) == counted(prepared, names, "tp53")
    cells = sorted((tmp_path / "cells").iterdir())
    command("figure", "learning", "--prepared", prepared.root, *options)
    assert sorted((tmp_path / "cells").iterdir()) == cells
    drawn = (tmp_path / "figure_learning.svg").read_text()
    assert "training patients" in drawn
    assert "tp53" in drawn
    assert (tmp_path / "figure_learning.png").stat().st_size > 10_000


def test_a_figure_without_its_cohort_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortInvalid, match="figure learning is of a cohort; give --prepared"):
        command("figure", "learning", "--out", tmp_path)
    with pytest.raises(CohortInvalid, match=r"no figure 9; .* 5, learning, B\.6"):
        command("figure", "9", "--out", tmp_path)
