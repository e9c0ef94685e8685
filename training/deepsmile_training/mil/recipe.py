"""Recipe: which head, and how it is trained; the numbers of the paper and of its code."""

from typing import Annotated, Literal

from pydantic import Field

from deepsmile.frozen import Frozen
from deepsmile_training.mil.heads import NU, DeepMIL, GatedMIL, Head, MaxMIL, MeanMIL, VarMIL
from deepsmile_training.mil.transmil import HEADS, WIDTH, TransMIL

Positive = Annotated[int, Field(ge=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class DeepMILSpec(Frozen):
    """DeepMIL, paper section 4.2.2; `gated` as Ilse et al. (2018)."""

    kind: Literal["deepmil", "gated"] = "deepmil"
    nu: Positive = NU
    embedding: tuple[Positive, ...] = ()
    """Widths of an MLP on each tile before the pooling; none in the paper."""

    def build(self, feature_dim: int, classes: int, *, he: bool) -> Head:
        """A new head."""
        head = DeepMIL if self.kind == "deepmil" else GatedMIL
        return head(feature_dim, nu=self.nu, classes=classes, embedding=self.embedding, he=he)


class VarMILSpec(Frozen):
    """VarMIL, paper section 4.2.3."""

    kind: Literal["varmil"] = "varmil"
    nu: Positive = NU
    embedding: tuple[Positive, ...] = ()
    spread: Literal["variance", "std"] = "variance"
    """RESOLUTIONS row 4: eq. 8 says variance, appendix A its root."""

    def build(self, feature_dim: int, classes: int, *, he: bool) -> Head:
        """A new head."""
        return VarMIL(
            feature_dim,
            nu=self.nu,
            classes=classes,
            embedding=self.embedding,
            he=he,
            spread=self.spread,
        )


class PoolSpec(Frozen):
    """Mean or max of the tiles."""

    kind: Literal["mean", "max"]
    embedding: tuple[Positive, ...] = ()

    def build(self, feature_dim: int, classes: int, *, he: bool) -> Head:
        """A new head."""
        head = MeanMIL if self.kind == "mean" else MaxMIL
        return head(feature_dim, classes=classes, embedding=self.embedding, he=he)


class TransMILSpec(Frozen):
    """TransMIL (Shao et al. 2021), a control."""

    kind: Literal["transmil"] = "transmil"
    width: Positive = WIDTH
    heads: Positive = HEADS

    def build(self, feature_dim: int, classes: int, *, he: bool) -> Head:
        """A new head."""
        return TransMIL(feature_dim, width=self.width, heads=self.heads, classes=classes, he=he)


HeadSpec = Annotated[
    DeepMILSpec | VarMILSpec | PoolSpec | TransMILSpec, Field(discriminator="kind")
]


class Recipe(Frozen):
    """How a head is trained; but for `standardise`, as in the paper for TCGA-BC (section 4.2.2)."""

    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Adam's; of SGD the first is the momentum."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    batch: Positive = 16
    epochs: Positive = 16
    evaluate_every: Annotated[float, Field(gt=0)] = 5
    """Steps; below 1, a share of an epoch."""
    balanced: bool = True
    """Cross-entropy weighted to balance the classes (section 4.2)."""
    tiles: Positive | None = 500
    """Tiles of a bag that are used, chosen once (section 4.2.2); None: all."""
    he: bool = True
    """He's initialisation (RESOLUTIONS row 9), or else torch's own."""
    standardise: bool = True
    """Features get mean 0 and deviation 1 over the training tiles (RESOLUTIONS row 23)."""


PAPER = Recipe(standardise=False)
PRESETS = {
    "paper-tcga-bc": PAPER,
    # TCGA-CRCk: all tiles, evaluated every 10 steps (section 4.2.2).
    "paper-tcga-crck": Recipe(tiles=None, evaluate_every=10, standardise=False),
    # The authors' code (RESOLUTIONS rows 6 to 9, 19 and 23).
    "hissl": Recipe(
        learning_rate=1e-3,
        betas=(0.9, 0.999),
        batch=1,
        evaluate_every=0.1,
        balanced=False,
        tiles=None,
        he=False,
        standardise=False,
    ),
}
