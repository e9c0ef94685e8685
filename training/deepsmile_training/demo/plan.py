"""Plan: how large a demo bundle's cohort is, and how its models are trained."""

from dataclasses import dataclass, field, replace

from deepsmile_training.demo.fit import Recipe
from deepsmile_training.demo.pretext import PretextRecipe


@dataclass(frozen=True)
class DemoPlan:
    """Equal plans give equal digests on one machine."""

    seed: int
    slides: int = 240
    pretext_slides: int = 36
    tissue_tiles: tuple[float, float] = (25.0, 65.0)
    """Least and most tissue of a slide, in tiles of 256 um."""
    pretext: PretextRecipe = field(default_factory=PretextRecipe)
    recipe: Recipe = field(default_factory=Recipe)
    threads: int = 2
    """Of torch: sums come out a little different with another number."""

    def smoke(self) -> "DemoPlan":
        """The same story in a minute; its bundle works and knows nothing."""
        return replace(
            self,
            slides=12,
            pretext_slides=1,
            tissue_tiles=(13.0, 15.0),
            pretext=replace(self.pretext, epochs=1),
            recipe=replace(self.recipe, epochs=2),
        )
