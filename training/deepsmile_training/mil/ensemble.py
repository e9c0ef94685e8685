"""Ensemble: several heads as one exported graph, which is what a bundle serves."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from deepsmile.errors import RequestInvalid
from deepsmile_training.export import export_onnx
from deepsmile_training.mil.heads import CLASSES, Head
from deepsmile_training.mil.transmil import TransMIL


class Ensemble(nn.Module):
    """M members as one graph: features (N, H) -> logits (M, C), attention (M, N)."""

    def __init__(self, members: Sequence[Head]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.feature_dim = len(members[0].mean)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        bag = features.unsqueeze(0)  # (1, N, H)
        mask = torch.ones_like(bag[..., 0], dtype=torch.bool)  # (1, N)
        answers = [member(bag, mask) for member in self.members]
        logits = torch.cat([logits for logits, _ in answers])  # (M, C)
        return logits, torch.cat([a for _, a in answers])  # (M, C), (M, N)


def export_ensemble(ensemble: Ensemble, path: Path) -> None:
    """Write the ONNX graph `features` (N, D) -> `logits` (M, 2), `attention` (M, N).

    Raises:
        RequestInvalid: a TransMIL, whose square has no shape before N is known, or not two
            classes, which is what serving reads.
    """
    for member in ensemble.members:
        if isinstance(member, TransMIL):
            raise RequestInvalid(
                "a TransMIL head cannot be exported for any number of tiles",
                hint="TransMIL is a control for training; export one of the heads that pool.",
            )
        if not isinstance(member.classify, nn.Linear) or member.classify.out_features != CLASSES:
            raise RequestInvalid(
                "only heads of two classes can be exported",
                hint="A bundle's head answers yes or no; train one head per class.",
            )
    export_onnx(
        ensemble,
        torch.zeros(3, ensemble.feature_dim),  # (3, D)
        path,
        input_name="features",
        output_names=["logits", "attention"],
        dynamic={0: "tiles"},
    )
