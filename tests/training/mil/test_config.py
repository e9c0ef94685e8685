"""Recipes: the paper's numbers, and files whose wrong keys are named."""

from pathlib import Path

import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.demo import fit as demo
from deepsmile_training.mil.config import MilConfig, load_mil_config
from deepsmile_training.mil.recipe import PAPER, PRESETS, Recipe, VarMILSpec


def test_the_defaults_are_the_paper_s() -> None:
    """Section 4.2.2: TCGA-BC."""
    assert (PAPER.optimiser, PAPER.learning_rate, PAPER.betas) == ("adam", 5e-4, (0.9, 0.99))
    assert (PAPER.weight_decay, PAPER.batch, PAPER.epochs) == (1e-4, 16, 16)
    assert (PAPER.evaluate_every, PAPER.tiles) == (5, 500)
    assert PAPER.balanced
    assert PAPER.he
    ours = PAPER.model_copy(update={"standardise": True})
    assert MilConfig() == MilConfig(head=VarMILSpec(nu=128, spread="variance"), recipe=ours)


def test_only_our_own_recipes_standardise() -> None:
    """RESOLUTIONS row 23: eqs 5 to 10 take features as they are."""
    assert {name: recipe.standardise for name, recipe in PRESETS.items()} == {
        "paper-tcga-bc": False,
        "paper-tcga-crck": False,
        "hissl": False,
    }
    assert MilConfig().recipe.standardise
    assert demo.Recipe().of_heads().standardise


def test_the_code_s_recipe_is_a_preset() -> None:
    """RESOLUTIONS rows 6 to 9 and 19."""
    hissl = PRESETS["hissl"]
    assert (hissl.learning_rate, hissl.betas, hissl.batch) == (1e-3, (0.9, 0.999), 1)
    assert (hissl.evaluate_every, hissl.tiles) == (0.1, None)
    assert not hissl.balanced
    assert not hissl.he
    crck = PRESETS["paper-tcga-crck"]
    assert (crck.evaluate_every, crck.tiles) == (10, None)


def load(tmp_path: Path, text: str) -> MilConfig:
    path = tmp_path / "mil.yaml"
    path.write_text(text)
    return load_mil_config(path)


def test_a_file_says_what_differs(tmp_path: Path) -> None:
    config = load(tmp_path, "head: {kind: gated, nu: 64}\nrecipe: {epochs: 8}\nby_patient: true\n")
    assert config.head.kind == "gated"
    assert config.recipe == Recipe(epochs=8)
    assert config.by_patient
    assert load(tmp_path, "recipe: hissl\n").recipe == PRESETS["hissl"]
    assert load(tmp_path, "") == MilConfig()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("recipe: {epoch: 8}", "recipe.epoch"),
        ("recipe: {learning_rate: .nan}", "recipe.learning_rate"),
        ("recipe: {batch: 0}", "recipe.batch"),
        ("recipe: chen", "no recipe 'chen'"),
        ("head: {kind: deepmil, spread: std}", "head.deepmil.spread"),
        ("head: {kind: lstm}", "head"),
        ("- a", "mil.yaml"),
        ("a: [", "mil.yaml"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(RequestInvalid, match=named):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match=r"absent\.yaml"):
        load_mil_config(tmp_path / "absent.yaml")
