"""Making: files of weights in the layouts of others."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import get_model


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def full_state(backbone: str, seed: int) -> dict[str, Tensor]:
    """Of a whole torchvision model, classifier and all."""
    torch.manual_seed(seed)
    return dict(get_model(backbone, weights=None).state_dict())


def vissl_checkpoint(backbone: str, seed: int) -> dict[str, Any]:
    """As VISSL lays it out; a ShuffleNetV2 trunk has every layer twice, and a classifier."""
    state = full_state(backbone, seed)
    layers = {f"_feature_blocks.{k}": v for k, v in state.items() if not k.startswith("fc.")}
    twice = {f"model.{k}": v for k, v in state.items()} if "shuffle" in backbone else {}
    head = {"0.clf.0.weight": torch.zeros(128, 512)}
    model = {"trunk": {**twice, **layers}, "heads": head}
    return {
        "phase_idx": 60,
        "iteration": 1000,
        "loss": {"info_average": torch.zeros(())},
        "classy_state_dict": {"base_model": {"model": model}, "train": True},
    }
