"""Backbones: by name, without their classifiers, each with the pixels that it was made for."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from deepsmile.errors import RequestInvalid

TORCHVISION = (
    "shufflenet_v2_x1_0",  # the paper's for breast cancer, section 4.1.1
    "resnet18",  # the paper's for colorectal cancer, section 4.1.1
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "wide_resnet50_2",
)
"""Those whose last layer is `fc` behind an average over all positions: any input size goes."""
TIMM = "timm:"
"""Before the name of a timm model, or of `local-dir:FOLDER` or `hf-hub:OWNER/MODEL` as timm reads
them."""

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Backbone:
    """A module from normalised planes (B, 3, h, w) to features (B, D), and what it expects."""

    name: str
    module: nn.Module
    feature_dim: int
    input_px: int | None = None
    """The only size it takes, px; None: whatever it is given."""
    mean: Colour = (0.0, 0.0, 0.0)
    deviation: Colour = (1.0, 1.0, 1.0)


def make_backbone(name: str) -> Backbone:
    """The backbone of that name, with weights as its library draws them; nothing is downloaded.

    Raises:
        RequestInvalid: no such backbone, or one that gives no vector for a tile.
    """
    if name.startswith(TIMM):
        return _timm_backbone(name)
    if name not in TORCHVISION:
        known = ", ".join(TORCHVISION)
        raise RequestInvalid(
            f"no backbone named {name!r}; known are {known}",
            hint=f"Any other comes from timm: write {TIMM}{name}.",
        )
    from torchvision.models import get_model  # takes longer to import than torch

    module = get_model(name, weights=None)
    feature_dim: int = module.fc.in_features
    module.fc = nn.Identity()
    return Backbone(name, module, feature_dim)


def _timm_backbone(name: str) -> Backbone:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise RequestInvalid(
            f"{name}: timm is not installed", hint="Install it: pip install 'deepsmile[timm]'."
        ) from error
    try:
        module: Any = timm.create_model(name.removeprefix(TIMM), pretrained=False, num_classes=0)
    except (RuntimeError, ValueError, OSError) as error:
        raise RequestInvalid(
            f"{name}: {error}", hint="`timm.list_models()` names those that there are."
        ) from error
    settings: dict[str, Any] = module.pretrained_cfg
    input_px = settings["input_size"][-1]
    feature_dim = _feature_dim(name, module, input_px)
    return Backbone(
        name, module, feature_dim, input_px, tuple(settings["mean"]), tuple(settings["std"])
    )


@torch.no_grad()
def _feature_dim(name: str, module: nn.Module, input_px: int) -> int:
    features = module.eval()(torch.zeros(1, 3, input_px, input_px))  # (1, D)
    module.train()
    if features.ndim != 2:
        raise RequestInvalid(
            f"{name} gives {tuple(features.shape)} for a tile, which is no vector of features",
            hint="Choose a model that pools its tokens.",
        )
    return int(features.shape[1])
