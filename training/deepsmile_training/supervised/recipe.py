"""Recipe: how the tile-supervised baseline is trained (paper section 4.2.1)."""

from typing import Annotated

from pydantic import Field

from deepsmile.frozen import Frozen
from deepsmile_training.supervised.voting import Vote

Positive = Annotated[int, Field(ge=1)]


class SupervisedRecipe(Frozen):
    """Adam without schedule or weight decay; all layers are tuned, unlike in Kather et al. 2020."""

    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    betas: tuple[float, float] = (0.9, 0.99)
    batch: Positive = 512
    epochs: Positive = 4
    evaluate_every: Positive = 100
    """Steps."""
    tiles: Positive | None = None
    """Tiles of a slide that are used, chosen once (section 3.1.2); None: all."""
    balanced: bool = True
    """Cross-entropy weighted to balance the classes (section 4.2)."""
    vote: Vote = "share"
    flips: bool = True
    """Tiles are mirrored at random, as Kather et al. 2019 do (RESOLUTIONS row 25)."""


PRESETS = {
    "paper-tcga-bc": SupervisedRecipe(tiles=500),
    "paper-tcga-crck": SupervisedRecipe(learning_rate=1e-6, batch=256, epochs=50),
    # The authors' code averages probabilities of all tiles (RESOLUTIONS rows 19 and 20); the rest
    # is the paper's.
    "hissl": SupervisedRecipe(vote="mean"),
}
"""Names as those of `mil.recipe`."""
