"""Contract: everything that can change a score, frozen, hashed whole, shipped with the model.

No field has a default and none is read from the environment: what is not written in the
bundle does not exist. `FeatureContract` is the part that decides a slide's features; its
digest is stamped on feature bags, so that a second head on a known slide reads no pixel.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deepsmile.calibration import Calibration
from deepsmile.digest import digest_of
from deepsmile.frozen import Frozen, Name, Sha256, Share

Grey = Annotated[float, Field(ge=0, le=255)]


class TileRule(Frozen):
    """The grid. Paper section 3.1.2: 224 x 224 px of 256 um, so 256/224 = 1.143 um per px."""

    size_um: Annotated[float, Field(gt=0)]
    """Edge of a tile on the glass, um."""
    size_px: Annotated[int, Field(ge=8, le=4096)]
    """Edge of a tile as the encoder sees it, px."""
    origin_um: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]
    """(x, y) of the grid's first corner from the slide's top left corner, um."""
    edge: Literal["drop", "pad"]
    """A tile that reaches past the slide: left out (the authors' `skip`), or padded white."""

    @property
    def mpp(self) -> float:
        """Microns per pixel of a tile as the encoder sees it."""
        return self.size_um / self.size_px


class PixelRule(Frozen):
    """From a pyramid level to a tile's pixels."""

    level_tolerance: Annotated[float, Field(ge=1, le=2)]
    """A level is fine enough when its mpp <= tile mpp * this. 1.02 spares a 4x decode on
    scanners that write 0.2527 instead of 0.25."""
    resample: Literal["halve_then_bilinear"]
    """2 x 2 means while the source is at least twice the tile, then one bilinear step."""
    upsample: bool
    """Whether a slide coarser than the tiles is enlarged (true) or declined (false)."""
    colour: Literal["as_stored"]
    """RGB as the file decodes; ICC profiles are not applied."""


class MppRule(Frozen):
    """Which microns per pixel are believed."""

    min: Annotated[float, Field(gt=0)]
    max: Annotated[float, Field(gt=0)]
    """Outside [min, max] um a value counts as missing (0, -1, and 352 = 72 dpi are common)."""
    max_anisotropy: Annotated[float, Field(ge=1)]
    """Largest ratio of the two axes' mpp."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError("mpp: min exceeds max, so no slide would be believed")
        return self


class OverviewRule(Frozen):
    """The small whole-slide image on which glass, stain and empty tiles are judged."""

    tile_px: Annotated[int, Field(ge=4, le=224)]
    """Edge of a tile in the overview, px (32: 8 um per px for 256 um tiles)."""


class GlassRule(Frozen):
    """The slide's own glass level: mode of the overview's bright greys.

    On 21 real slides the glass was 236-250, not 255 (docs/decisions.md).
    """

    min_grey: Grey
    """Greys below this are never glass."""
    min_share: Share
    """Fewer pixels than this at the mode (+-2): no glass in sight, and nothing is scaled."""


class GreySobel(Frozen):
    """The paper's rule, section 3.1.2, as resolved in docs/decisions.md.

    Background: more than `max_background` of the pixels have grey > `grey` and a Sobel
    gradient <= `gradient`, where gradient = 0.5 |dx| + 0.5 |dy| (Fu et al. 2020's code).
    """

    rule: Literal["grey_sobel"]
    grey: Grey
    gradient: Grey
    max_background: Share
    glass: GlassRule | None
    """Scale grey so that the slide's own glass is 255 before the rule; null: the paper's own."""
    overview_max_background: Share
    """Tiles with more background than this in the overview are never decoded."""


class Fu2020(Frozen):
    """Fu et al. 2020: background when `max_flat` or more of the pixels have gradient <= `gradient`.

    No grey test; 15 and 0.6 in the authors' own code.
    """

    rule: Literal["fu2020"]
    gradient: Grey
    max_flat: Share
    overview_max_background: Share


class FesiLike(Frozen):
    """In the spirit of FESI (Bug et al. 2015), as the authors' released code used it.

    Foreground on the overview: blurred absolute Laplacian above its mean, closed and filled;
    a tile is kept when at least `min_foreground` of it is foreground (0.5 in their configs).
    """

    rule: Literal["fesi_like"]
    blur_px: Annotated[float, Field(gt=0)]
    """Sigma of the Gaussian on the overview, px."""
    min_foreground: Share


class KeepAll(Frozen):
    """No background filter: every tile of the grid is used."""

    rule: Literal["none"]


TissueRule = Annotated[GreySobel | Fu2020 | FesiLike | KeepAll, Field(discriminator="rule")]


class HEStain(Frozen):
    """H&E or not, judged on the overview's candidate tiles (docs/decisions.md has the figures).

    Not brightfield: more than `max_dark` of the overview is darker than `dark_grey`.
    Not H&E: fewer than `min_share` of the stained pixels (HSV saturation > `min_saturation`,
    grey > `dark_grey`) have a hue in `hue_deg`, blue-violet over magenta to pink.
    """

    rule: Literal["he_hue"]
    dark_grey: Grey
    max_dark: Share
    min_saturation: Share
    hue_deg: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=360)]]
    """(low, high), degrees; the range does not wrap around 360."""
    min_share: Share

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.hue_deg[0] > self.hue_deg[1]:
            raise ValueError("hue_deg: low exceeds high")
        return self


class AnyStain(Frozen):
    """No stain check; for models of other stains."""

    rule: Literal["any"]


StainRule = Annotated[HEStain | AnyStain, Field(discriminator="rule")]


class Budget(Frozen):
    """How many tissue tiles are used."""

    max_tiles: Annotated[int, Field(ge=1)] | None
    """null: all of them. Otherwise the first of a seeded order of the grid."""
    seed: int


class Encoder(Frozen):
    """The tile encoder: uint8 NHWC in, normalisation inside the graph, features out."""

    name: Name
    sha256: Sha256
    """Digest of the ONNX file."""
    feature_dim: Annotated[int, Field(ge=1)]


class FeatureContract(Frozen):
    """From a slide file to a bag of features."""

    tile: TileRule
    pixels: PixelRule
    mpp: MppRule
    overview: OverviewRule
    tissue: TissueRule
    stain: StainRule
    budget: Budget
    encoder: Encoder


class OperatingPoint(Frozen):
    """A threshold on the calibrated probability, chosen on validation slides only."""

    name: Name
    threshold: Share
    basis: str
    """How it was chosen, in words for a person."""


class Conformal(Frozen):
    """Split-conformal prediction sets, class by class (Vovk et al. 2003; Mondrian).

    A class is in a slide's set when the calibrated probability is no stranger than that of
    `coverage` of the class's own calibration slides, so that of further slides like those, of
    either class, `coverage` have theirs in the set. Sets of both classes or of none abstain.
    """

    coverage: Annotated[float, Field(gt=0, lt=1)]
    """Promised share of the slides of each class whose class is in their set."""
    negative_up_to: Share
    """The negative class is in the set of probabilities up to this."""
    positive_from: Share
    """The positive class is in the set of probabilities from this on."""
    basis: str
    """Which slides it was fitted on, in words for a person."""


class Novelty(Frozen):
    """Slides unlike the training slides are declined: by a score of their mean feature."""

    sha256: Sha256
    """Digest of the .npz file that `deepsmile.novelty` computes the score with."""
    threshold: Annotated[float, Field(gt=0)]
    """Slides with a higher score are declined."""
    rate: Annotated[float, Field(gt=0, lt=1)]
    """Promised largest share of slides like the training ones that are declined all the same."""
    basis: str
    """Which slides the threshold was chosen on, in words for a person."""


class Head(Frozen):
    """One slide-level label: from a feature bag to a calibrated probability."""

    name: Name
    sha256: Sha256
    """Digest of the ONNX file: features (N, D) -> logits (M, 2), attention (M, N)."""
    members: Annotated[int, Field(ge=1)]
    """M, the ensemble's members; the raw probability is the mean of theirs."""
    negative: str
    positive: str
    """Names of the two classes; the probability is the positive one's."""
    min_tiles: Annotated[int, Field(ge=1)]
    """Fewer tissue tiles than this: abstain."""
    calibration: Calibration
    operating_points: Annotated[tuple[OperatingPoint, ...], Field(min_length=1)]
    decision: Name
    """The operating point whose label is reported."""
    conformal: Conformal | None
    """null: the label is reported however near the two classes are."""
    novelty: Novelty | None
    """null: slides unlike the training slides are not told from others."""

    @model_validator(mode="after")
    def _decision_is_one_point(self) -> Self:
        names = [point.name for point in self.operating_points]
        if names.count(self.decision) != 1:
            raise ValueError(f"decision {self.decision!r} does not name one operating point")
        return self

    @property
    def decision_point(self) -> OperatingPoint:
        """The operating point whose label is reported."""
        return next(point for point in self.operating_points if point.name == self.decision)

    @property
    def calibration_digest(self) -> str:
        """SHA-256 (hex) of all that turns a raw probability into an answer."""
        steps = {"calibration", "operating_points", "decision", "conformal"}
        return digest_of(self.model_dump(mode="json", include=steps))


class Contract(Frozen):
    """All of it: features, then one or more heads that share one pass over the tiles."""

    features: FeatureContract
    heads: Annotated[tuple[Head, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _heads_are_distinct(self) -> Self:
        if len({head.name for head in self.heads}) != len(self.heads):
            raise ValueError("two heads have the same name")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """Digests of all files that it names: encoder, heads, and what tells novelty."""
        novelties = (head.novelty.sha256 for head in self.heads if head.novelty)
        return (self.features.encoder.sha256, *(head.sha256 for head in self.heads), *novelties)
