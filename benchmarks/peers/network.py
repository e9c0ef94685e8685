"""Network: torchvision's ResNet18 as the peers run it, eager, fp32, normalised outside."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models import resnet18

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, as every peer's own ResNets have them."""
FEATURE_DIM = 512


class Network(nn.Module):
    """(B, 3, 224, 224) normalised -> (B, 512); keeps what it was given, if told to."""

    def __init__(self, weights: Path, *, keep: bool) -> None:
        super().__init__()
        self.trunk = resnet18(weights=None)
        self.trunk.fc = nn.Identity()
        self.trunk.load_state_dict(torch.load(weights, weights_only=True))
        self.keep = keep
        self._given: list[NDArray[np.uint8]] = []
        self._made: list[NDArray[np.float32]] = []
        self.eval()

    def forward(self, planes: Tensor) -> Tensor:
        features: Tensor = self.trunk(planes)  # (B, 512)
        if self.keep:
            self._given.append(as_pixels(planes))
            self._made.append(features.detach().numpy())
        return features

    def pixels_of(self, features: NDArray[np.float32]) -> NDArray[np.uint8] | None:
        """What each row of `features` (N, 512) was made of, (N, 224, 224, 3), if it was kept.

        Tools may encode in one order and answer in another, so rows are found by what they hold.
        """
        if not self.keep:
            return None
        made = np.concatenate(self._made)  # (M, 512)
        rows = [int(np.abs(made - row).sum(axis=1).argmin()) for row in features]
        return np.concatenate(self._given)[rows]


def normalised(*before: nn.Module) -> transforms.Compose:
    """The transform that goes with the network: image to normalised planes."""
    return transforms.Compose(
        [*before, transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)]
    )


def as_planes(pixels: Tensor) -> Tensor:
    """Bytes (B, h, w, 3) to normalised planes (B, 3, h, w)."""
    mean, deviation = _constants()
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / deviation


def as_pixels(planes: Tensor) -> NDArray[np.uint8]:
    """Normalised planes (B, 3, h, w) back to bytes (B, h, w, 3)."""
    mean, deviation = _constants()
    unit = planes.detach() * deviation + mean  # (B, 3, h, w)
    pixels: NDArray[np.uint8] = (
        (unit * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    )
    return pixels


def _constants() -> tuple[Tensor, Tensor]:
    return torch.tensor(MEAN).view(3, 1, 1), torch.tensor(DEVIATION).view(3, 1, 1)
