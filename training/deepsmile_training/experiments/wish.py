"""Wish: what of a prepared cohort a table is about, and by which recipes it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from deepsmile.errors import RequestInvalid
from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.mil import recipe as heads
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import HeadSpec, Recipe
from deepsmile_training.supervised import recipe as tiles
from deepsmile_training.supervised.recipe import SupervisedRecipe
from deepsmile_training.supervised.voting import Vote

BREAST = "paper-tcga-bc"
Preset = TypeVar("Preset")


@dataclass(frozen=True)
class Wish:
    """One recipe's name for heads and tile supervision, and what is changed of either."""

    labels: tuple[str, ...]
    extractors: tuple[str, ...] = ()
    """None: all that there are."""
    recipe: str = BREAST
    epochs: int | None = None
    """Of both."""
    tile_batch: int | None = None
    vote: Vote | None = None
    one_bag: bool = False
    """A patient's slides as one bag, instead of the mean of their scores (RESOLUTIONS row 18)."""
    standardise: bool = False
    """Features for the heads, where the recipe takes them as they are (RESOLUTIONS row 23)."""
    seed: int = 0

    def head(self, spec: HeadSpec, **of_table: Any) -> MilConfig:  # noqa: ANN401 - pydantic looks
        """A head's training; what a table varies is changed first, then what was wished."""
        changes = of_table | _given(epochs=self.epochs, standardise=self.standardise or None)
        preset = _preset(heads.PRESETS, self.recipe)
        recipe = Recipe.model_validate(preset.model_dump() | changes)
        return MilConfig(head=spec, recipe=recipe, by_patient=self.one_bag, seed=self.seed)

    @property
    def supervised(self) -> SupervisedRecipe:
        """Tile supervision's training."""
        changes = _given(epochs=self.epochs, batch=self.tile_batch, vote=self.vote)
        preset = _preset(tiles.PRESETS, self.recipe)
        return SupervisedRecipe.model_validate(preset.model_dump() | changes)

    @property
    def told(self) -> str:
        """The recipe, and what is not its own."""
        given = _given(epochs=self.epochs, tile_batch=self.tile_batch, vote=self.vote)
        changes = [f"{name.replace('_', ' ')} {value}" for name, value in given.items()]
        bags = ["one bag per patient"] if self.one_bag else []
        bags += ["standardised features"] if self.standardise else []
        seed = [f"seed {self.seed}"] if self.seed else []
        return ", ".join([f"recipe {self.recipe}", *changes, *bags, *seed])


def recipe_for(cohort: Cohort) -> str:
    """The paper's for this very cohort, or else what it did on TCGA-BC."""
    own = f"paper-{cohort.name}"
    return own if own in heads.PRESETS else BREAST


def _preset(presets: Mapping[str, Preset], name: str) -> Preset:
    if name not in presets:
        raise RequestInvalid(f"no recipe {name!r}", hint=f"There are {', '.join(presets)}.")
    return presets[name]


def _given(**changes: object) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if value is not None}
