"""Heads: a label's ensemble, exported, calibrated, with its operating points."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deepsmile.bag import Features
from deepsmile.contract import Head
from deepsmile.digest import digest_of_file
from deepsmile_training.calibrating import fit_platt
from deepsmile_training.demo.cohort import Label, Split
from deepsmile_training.demo.fit import Recipe, fit_ensemble
from deepsmile_training.export import export_onnx
from deepsmile_training.metrics import Labels, auc
from deepsmile_training.thresholds import DECISION, choose_points
from deepsmile_training.varmil import Ensemble

MIN_TILES = 8
"""Fewer say too little of the variance between tiles."""


@dataclass(frozen=True)
class MadeHead:
    """A head, and how it ranked the slides that its thresholds were chosen on."""

    head: Head
    out_of_fold_auc: float


def make_head(
    label: Label,
    bags: list[Features],
    y: Labels,
    split: Split,
    *,
    seed: int,
    recipe: Recipe,
    path: Path,
    advance: Callable[[], None],
) -> MadeHead:
    """Fit, export to `path`, calibrate and choose thresholds; the test slides stay out of it."""
    fit = fit_ensemble(bags, y, split, seed, recipe=recipe, advance=advance)
    export_ensemble(fit.ensemble, path)
    seen = y[fit.slides]  # (n,)
    calibration = fit_platt(fit.out_of_fold, seen)
    calibrated = np.array([calibration.apply(p) for p in fit.out_of_fold.tolist()])  # (n,)
    head = Head(
        name=label.name,
        sha256=digest_of_file(path),
        members=len(fit.ensemble.members),
        negative=label.negative,
        positive=label.positive,
        min_tiles=MIN_TILES,
        calibration=calibration,
        operating_points=choose_points(calibrated, seen),
        decision=DECISION,
    )
    return MadeHead(head, auc(fit.out_of_fold, seen))


def export_ensemble(ensemble: Ensemble, path: Path) -> None:
    """Write the ONNX graph `features` (N, D) -> `logits` (M, 2), `attention` (M, N)."""
    example = torch.zeros(3, ensemble.feature_dim)  # (3, D)
    export_onnx(
        ensemble,
        example,
        path,
        input_name="features",
        output_names=["logits", "attention"],
        dynamic={0: "tiles"},
    )
