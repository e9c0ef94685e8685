"""Plan: what a bundle is called, what it is made of, and what its heads are to promise."""

import re
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from deepsmile.bundle import Version
from deepsmile.errors import RequestInvalid
from deepsmile.frozen import Frozen, Name
from deepsmile_training.evidence.points import TARGETS, Targets
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import TransMILSpec
from deepsmile_training.trust.conformal import COVERAGE
from deepsmile_training.trust.novelty import RATE

MIN_TILES = 8
"""Fewer say too little of the variance between tiles."""

Open = Annotated[float, Field(gt=0, lt=1)]
Target = Annotated[float, Field(gt=0, le=1)]


class Plan(Frozen):
    """With the prepared cohort and the encoder it decides the whole bundle."""

    name: Name
    version: Version = "1"
    notice: str = ""
    """Said beside every score; empty: what the bundle was trained on."""
    extractor: str
    """Whose features of the cohort are used, and..."""
    encoder: str
    """... the encoder that made them, by its name in the model repository."""
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    config: MilConfig
    min_tiles: Annotated[int, Field(ge=1)] = MIN_TILES
    sensitivity: Target = TARGETS.sensitivity
    """Of `rule_out`."""
    specificity: Target = TARGETS.specificity
    """Of `rule_in`."""
    coverage: Open = COVERAGE
    """Of the prediction sets, in either class."""
    novelty_rate: Open = RATE

    @property
    def targets(self) -> Targets:
        """What the two safe operating points hold."""
        return Targets(self.sensitivity, self.specificity)

    @model_validator(mode="after")
    def _can_be_exported(self) -> Self:
        if isinstance(self.config.head, TransMILSpec):
            raise ValueError("a TransMIL head cannot be exported for any number of tiles")
        if len({head_name(label) for label in self.labels}) < len(self.labels):
            raise ValueError("two labels would be heads of one name")
        return self


def make_plan(**fields: Any) -> Plan:  # noqa: ANN401 - pydantic looks at them
    """A plan; raises RequestInvalid naming what is wrong with it."""
    try:
        return Plan.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "bundle"
        raise RequestInvalid(
            f"{where}: {first['msg']}",
            hint="Names are small letters, digits, dots, dashes and underscores, 64 at most.",
        ) from error


def head_name(label: str) -> str:
    """A label as a head may be called: mHRD is `mhrd`. Raises ValueError where nothing is left."""
    plain = re.sub(r"[^a-z0-9_.-]+", "-", label.lower()).strip("-_.")
    return TypeAdapter(Name).validate_python(plain)
