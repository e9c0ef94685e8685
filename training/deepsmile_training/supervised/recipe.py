"""Recipe: how the tile-supervised baseline is trained (paper section 4.2.1)."""

from typing import Annotated

from pydantic import Field

from deepsmile.frozen import Frozen
from deepsmile_training.supervised.voting import Vote

Positive = Annotated[int, Field(ge=1)]


class TileRecipe(Frozen):
    """Adam without schedule or weight decay; all layers are tuned, unlike in Kather et al. 2020."""

    backbone: str = "shufflenet_v2_x1_0"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    betas: tuple[float, float] = (0.9, 0.99)
    batch: Positive = 512
    epochs: Positive = 4
    evaluate_every: Positive = 100
    """Steps."""
    balanced: bool = True
    """Cross-entropy weighted to balance the classes (section 4.2)."""
    vote: Vote = "share"
    flips: bool = True
    """Tiles are mirrored at random, as Kather et al. 2019 do; the paper does not say."""


PRESETS = {
    "paper-tcga-bc": TileRecipe(),
    "paper-tcga-crck": TileRecipe(backbone="resnet18", learning_rate=1e-6, batch=256, epochs=50),
}
