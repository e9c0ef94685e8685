"""Presets: runs of the paper and of the authors' code, as YAML would have them."""

from typing import Any

from deepsmile.errors import RequestInvalid

EVERY_5_EPOCHS = {"keep_epochs": 5}
"""Appendix B.1; table B.3 has the encoders after 5 and 35."""

PRESETS: dict[str, dict[str, Any]] = {
    # Section 4.1.1; its first 35 epochs are SimCLR-950 of appendix B.1.
    "paper-tcga-bc": {
        "backbone": "shufflenet_v2_x1_0",
        "batch": 950,
        "epochs": 45,
        "running": EVERY_5_EPOCHS,
    },
    "paper-tcga-crck": {"backbone": "resnet18", "batch": 128, "epochs": 100},
    # Appendix B.1; SimCLR on one GPU, and BYOL with virtual batches by accumulation.
    "paper-simclr-500": {"batch": 500, "epochs": 35, "running": EVERY_5_EPOCHS},
    "paper-byol-400": {"method": "byol", "batch": 400, "epochs": 35, "running": EVERY_5_EPOCHS},
    "paper-byol-4000": {
        "method": "byol",
        "batch": 4000,
        "epochs": 35,
        "accumulation": 10,
        "running": EVERY_5_EPOCHS,
    },
    # The released code's values (RESOLUTIONS rows 11 and 14): four GPUs of 256 tiles each.
    "hissl": {
        "backbone": "shufflenet_v2_x1_0",
        "batch": 1024,
        "epochs": 60,
        "head": "linear2",
        "adam": {"learning_rate": 1e-4, "beta2": 0.999, "weight_decay": 1e-4},
    },
    # Ours: minutes on a CPU, to see that everything works and something is learnt.
    "smoke": {
        "backbone": "resnet18",
        "batch": 64,
        "epochs": 6,
        "view_px": 64,
        "augmentation": "gentle",
        "temperature": 0.2,
        "adam": {"learning_rate": 1e-3},
        "precision": "fp32",
        "running": {"workers": 0, "log_steps": 1},
    },
}


def preset_values(name: str) -> dict[str, Any]:
    """Raises RequestInvalid if there is none of that name."""
    if name not in PRESETS:
        raise RequestInvalid(
            f"no preset {name!r}", hint=f"There are {', '.join(PRESETS)}; or write a YAML file."
        )
    return PRESETS[name]
