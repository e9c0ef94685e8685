"""Configuration: a head, its recipe and how slides become bags, read from YAML."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from deepsmile.frozen import Frozen
from deepsmile_training.mil.recipe import PRESETS, HeadSpec, Recipe, VarMILSpec
from deepsmile_training.yaml_file import parse, read_yaml


class MilConfig(Frozen):
    """One training of a head. `recipe` is a preset's name, or what differs from `Recipe()`.

    A YAML file has, for example, `head: {kind: deepmil}` and `recipe: {epochs: 8}`.
    """

    head: HeadSpec = VarMILSpec()
    recipe: Recipe = Recipe()
    by_patient: bool = False
    """A patient's slides as one bag, instead of the mean of their scores (RESOLUTIONS row 18)."""
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("recipe", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value not in PRESETS:
            raise ValueError(f"no recipe {value!r}; there are {', '.join(PRESETS)}")
        return PRESETS[value]


def load_mil_config(path: Path) -> MilConfig:
    """Read a YAML file.

    Raises:
        RequestInvalid: no such file, no YAML, or a wrong key or value, which it names.
    """
    return parse(MilConfig, read_yaml(path) or {}, str(path))
