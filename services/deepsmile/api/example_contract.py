"""Example contract: the rules that the bundle of the schema's examples would have."""

from deepsmile.contract import Contract

ENCODER, HEAD, NOVELTY = "63" * 32, "74" * 32, "85" * 32

CONTRACT = Contract.model_validate(
    {
        "features": {
            "tile": {"size_um": 256.0, "size_px": 224, "origin_um": (0.0, 0.0), "edge": "drop"},
            "pixels": {
                "level_tolerance": 1.02,
                "resample": "halve_then_bilinear",
                "upsample": False,
                "colour": "as_stored",
            },
            "mpp": {"min": 0.05, "max": 20.0, "max_anisotropy": 1.1},
            "overview": {"tile_px": 32},
            "tissue": {
                "rule": "grey_sobel",
                "grey": 240.0,
                "gradient": 15.0,
                "max_background": 0.5,
                "glass": {"min_grey": 225.0, "min_share": 0.005},
                "overview_max_background": 0.7,
            },
            "stain": {
                "rule": "he_hue",
                "dark_grey": 40.0,
                "max_dark": 0.5,
                "min_saturation": 0.08,
                "hue_deg": (240.0, 360.0),
                "min_share": 0.5,
            },
            "budget": {"max_tiles": None, "seed": 0},
            "encoder": {"name": "resnet18", "sha256": ENCODER, "feature_dim": 512},
        },
        "heads": [
            {
                "name": "msi",
                "sha256": HEAD,
                "members": 5,
                "negative": "MSS",
                "positive": "MSI-H",
                "min_tiles": 50,
                "calibration": {"method": "platt", "slope": 0.9, "intercept": -0.2},
                "operating_points": [
                    {
                        "name": "sensitivity95",
                        "threshold": 0.31,
                        "basis": "95 % sensitivity on validation slides",
                    }
                ],
                "decision": "sensitivity95",
                "conformal": {
                    "coverage": 0.9,
                    "negative_up_to": 0.62,
                    "positive_from": 0.29,
                    "basis": "210 negative and 48 positive out-of-fold validation slides",
                },
                "novelty": {
                    "sha256": NOVELTY,
                    "threshold": 7.31,
                    "rate": 0.01,
                    "basis": "held-out scores of 258 validation slides",
                },
            }
        ],
    }
)
