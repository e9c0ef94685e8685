"""Probing: what the encoder's features tell of labels that it never sees, during a run."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from deepsmile.bag import Features
from deepsmile_training.encoders.comparison import Question, Sample, questions, sample
from deepsmile_training.encoders.probe import K, knn_correct
from deepsmile_training.encoders.tile_encoder import TileEncoder
from deepsmile_training.pretraining.loading import Tiles
from deepsmile_training.tilesets.store import TileStore

MOST_TILES = 1000
BATCH = 32


@dataclass(frozen=True)
class Prober:
    """A sample of the tiles with what can be asked of them, seen at the size of the views."""

    sample: Sample
    asked: list[Question]
    view_px: int

    def probe(self, encoder: TileEncoder, device: torch.device) -> dict[str, float]:
        """Share of tiles whose neighbours vote for their slide, or other label."""
        features = self._embed(encoder, device)  # (n, D)
        told = {}
        for each in self.asked:
            correct = knn_correct(features[each.rows], each.answers, each.groups, K)  # (m,)
            told[f"knn_{each.label}"] = float(correct[each.askable].mean())
        return told

    @torch.no_grad()
    def _embed(self, encoder: TileEncoder, device: torch.device) -> Features:
        encoder.eval()
        parts = []
        for tiles in torch.split(torch.from_numpy(self.sample.tiles), BATCH):
            unit = tiles.to(device).permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
            size = (self.view_px, self.view_px)
            small = F.interpolate(unit, size, mode="bilinear", antialias=True)  # (B, 3, v, v)
            parts.append(encoder.encode_unit(small).float().cpu().numpy())  # (B, D)
        encoder.train()
        return np.concatenate(parts)  # (n, D)


def prober_of(tiles: Tiles, view_px: int) -> Prober | None:
    """None where the tiles have no labels to ask for."""
    if not isinstance(tiles, TileStore):
        return None
    some = sample(tiles, MOST_TILES)
    asked = questions(some, ())
    return Prober(some, asked, view_px) if asked else None
