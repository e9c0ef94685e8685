"""Contracts: the demo's rules from a slide to its features, written once."""

from typing import Any, Literal

from deepsmile.contract import Encoder, FeatureContract

Tissue = Literal["default", "paper", "fu2020", "fesi", "none"]
OVERVIEW = 0.7
"""Tiles with more background than this on the overview are never decoded (docs/decisions.md)."""
GREY_SOBEL: dict[str, Any] = {
    "rule": "grey_sobel",
    "grey": 240.0,
    "gradient": 15.0,
    "max_background": 0.5,
    "glass": {"min_grey": 225.0, "min_share": 0.005},
    "overview_max_background": OVERVIEW,
}
TISSUE: dict[Tissue, dict[str, Any]] = {
    # Paper section 3.1.2, read as "flat and bright"; grey scaled to the slide's glass.
    "default": GREY_SOBEL,
    # The same on grey as it is.
    "paper": GREY_SOBEL | {"glass": None},
    # Fu et al. 2020, whom the paper cites: the values of their own code.
    "fu2020": {
        "rule": "fu2020",
        "gradient": 15.0,
        "max_flat": 0.6,
        "overview_max_background": OVERVIEW,
    },
    # Half of a tile, as in the authors' released configurations; the blur is our choice.
    "fesi": {"rule": "fesi_like", "blur_px": 2.0, "min_foreground": 0.5},
    "none": {"rule": "none"},
}
"""Rules for background by name (RESOLUTIONS row 15)."""


def feature_contract(encoder: Encoder, tissue: Tissue = "default") -> FeatureContract:
    """The demo's rules, which are the paper's as docs/decisions.md resolves them."""
    return FeatureContract.model_validate(
        {
            # Paper section 3.1.2: 224 px of 256 um, 1.143 um per px; no overlap, no remainder.
            "tile": {"size_um": 256.0, "size_px": 224, "origin_um": (0.0, 0.0), "edge": "drop"},
            "pixels": {
                "level_tolerance": 1.02,
                "resample": "halve_then_bilinear",
                "upsample": False,
                "colour": "as_stored",
            },
            "mpp": {"min": 0.05, "max": 20.0, "max_anisotropy": 1.1},
            "overview": {"tile_px": 32},
            "tissue": TISSUE[tissue],
            "stain": {
                "rule": "he_hue",
                "dark_grey": 40.0,
                "max_dark": 0.5,
                "min_saturation": 0.08,
                "hue_deg": (240.0, 360.0),
                "min_share": 0.5,
            },
            "budget": {"max_tiles": None, "seed": 0},
            "encoder": encoder,
        }
    )
