"""Recipe: everything that decides a store's tiles, hashed whole."""

from typing import Annotated, Any, Literal

from pydantic import Field

from deepsmile import __version__
from deepsmile.contract import (
    Budget,
    Encoder,
    FeatureContract,
    MppRule,
    OverviewRule,
    PixelRule,
    StainRule,
    TileRule,
    TissueRule,
)
from deepsmile.digest import digest_of
from deepsmile.frozen import Frozen
from deepsmile_training.contracts import feature_contract

Encoding = Literal["raw", "jpeg", "files"]
"""`raw`: pixels as they are. `jpeg`: a fifth of that, not the same pixels. `files`: JPEG and PNG
images as the bytes they are, others as PNG."""
NO_ENCODER = Encoder(name="none", sha256="0" * 64, feature_dim=1)
"""Tiles are cut before they are encoded: no encoder can change them."""


class SlideRules(Frozen):
    """A feature contract without its encoder: what serving sees of a slide."""

    of: Literal["slides"] = "slides"
    tile: TileRule
    pixels: PixelRule
    mpp: MppRule
    overview: OverviewRule
    tissue: TissueRule
    stain: StainRule
    budget: Budget

    @property
    def tile_px(self) -> int:
        """Edge of a tile."""
        return self.tile.size_px

    @property
    def contract(self) -> FeatureContract:
        """The contract that the reader asks for."""
        return FeatureContract.model_validate(
            {**self.model_dump(exclude={"of"}), "encoder": NO_ENCODER}
        )


class ImageRules(Frozen):
    """Tile images as they are."""

    of: Literal["images"] = "images"
    tile_px: int = 224
    """Paper section 3.1.2; what every encoder takes."""
    resize: bool = False
    """Images of another size are resized as a slide's pixels are, and not dropped."""
    budget: Budget = Budget(max_tiles=None, seed=0)


class TileRecipe(Frozen):
    """From a source to the bytes of a shard."""

    encoding: Encoding
    rules: Annotated[SlideRules | ImageRules, Field(discriminator="of")]
    software: str = __version__


def slide_rules(
    contract: FeatureContract | None = None, *, max_tiles: int | None = None, seed: int = 0
) -> SlideRules:
    """The rules of a contract, or of the project; its budget unless `max_tiles` is given."""
    sections: dict[str, Any] = (contract or feature_contract(NO_ENCODER)).model_dump()
    del sections["encoder"]
    if max_tiles is not None:
        sections["budget"] = Budget(max_tiles=max_tiles, seed=seed)
    return SlideRules.model_validate(sections)


def seeded_rank(seed: int, slide: str, tile: str) -> str:
    """A key per tile image; images sorted by it are in an order that no library can change."""
    return digest_of([seed, slide, tile])
