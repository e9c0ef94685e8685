"""Published: the encoders that the authors of DeepSMILE gave out, as VISSL saved them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.weights import State

PUBLISHED = {
    "bd765e11072f12d8c2510ce13f58377b8f904527167c2a2f82265352ef9ca11b": "TCGA-BC fold 0",
    "0ea16fef71bd8bcf7d3f6bad9e150bf5f9ab66ab0478cea7ebedfe22e1b10615": "TCGA-BC fold 1",
    "3e266546a70730bb67f362587f562f4d8cb2e730b72ee707eee546a095f1170a": "TCGA-BC fold 2",
    "ff7591b487df45064bd658527acd0d67dd926abad33f4d54083b83e9f52c522c": "TCGA-BC fold 3",
    "5d5afe969ab1b656d609a1e0a864279abc6df44f70403ee108d02864e172baf8": "TCGA-BC fold 4",
    "15f6d005c7908d57e70d2f45c9d491145168b33eed915198be2c49ff1d258068": "TCGA-CRCk",
}
"""What each published file, by its SHA-256, was trained on: ShuffleNetV2 x1.0 for 60 epochs on
TCGA-BC (one per fold: its training and validation slides), ResNet18 for 100 on TCGA-CRCk."""

TRUNK = ("classy_state_dict", "base_model", "model", "trunk")
"""Where a VISSL checkpoint keeps its encoder."""
BLOCKS = "_feature_blocks."
"""Before the names of the encoder's layers; after it, they are torchvision's."""


def trunk_of(checkpoint: Mapping[str, Any], what: str) -> State:
    """The encoder of a VISSL checkpoint, or of its trunk alone, under torchvision's names.

    A ShuffleNetV2 trunk may hold every layer twice, and its unused classifier: only what stands
    under `BLOCKS` is taken.

    Raises:
        RequestInvalid: there is no such encoder in it.
    """
    trunk: Any = checkpoint
    if TRUNK[0] in checkpoint:
        for number, key in enumerate(TRUNK):
            if not isinstance(trunk, Mapping) or key not in trunk:
                raise RequestInvalid(
                    f"{what}: no VISSL checkpoint: {'/'.join(TRUNK[: number + 1])} is missing"
                )
            trunk = trunk[key]
    found = {
        key.removeprefix(BLOCKS): value
        for key, value in trunk.items()
        if key.startswith(BLOCKS) and isinstance(value, Tensor)
    }
    if not found:
        raise RequestInvalid(
            f"{what}: no VISSL checkpoint: neither {'/'.join(TRUNK)} nor {BLOCKS}* is in it"
        )
    return found
