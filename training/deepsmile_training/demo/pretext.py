"""Pretext: the encoder learns nuclear size and number from synthetic tiles' own truth.

A He-initialised encoder without any training did not carry the variance of nuclear size (out of
fold AUC 0.66 on a cohort of another seed). No weights are downloaded, and contrastive
pre-training as in the paper (section 4.1.1) takes days; so the demo's encoder is told what the
painter knows, and that two views of a crop are the same. Its slides are its own: no slide of the
cohort is among them, and no slide-level label is used.

Two numbers a crop leave nearly all of 1,024 features to chance. Without the second view, noise of
one grey level moved them by 0.4 of their spread, and 8-bit weights by 0.3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsmile.contract import Encoder
from deepsmile.reading import Reader
from deepsmile.tiles import TileBatch
from deepsmile_training.contracts import feature_contract
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder, settle_batch_norm
from deepsmile_training.synthetic.anatomy import TILE_UM
from deepsmile_training.synthetic.slide import TileTruth, truth_of
from deepsmile_training.synthetic.specimen import SlideSpec

BACKBONE, FEATURE_DIM = "shufflenet_v2_x1_0", 1024
"""The paper's for breast cancer, section 4.1.1."""
PARTS = 2
"""A tile is cut in PARTS x PARTS crops: four samples for the price of one."""
MIN_NUCLEI = 3
"""Crops with fewer say nothing of size."""
UNTRAINED = Encoder(name="none", sha256="0" * 64, feature_dim=FEATURE_DIM)
BLUR, NOISE = 0.6, 0.03
"""At most: share of a box of 3 px, and standard deviation of the noise in units of [0, 1]."""
SETTLING_TILES = 256
"""Whole tiles on which batch norms are settled at the end."""


@dataclass(frozen=True)
class PretextRecipe:
    """How the encoder is trained; ours, not the paper's."""

    epochs: int = 5
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    agreement: float = 0.1
    """Weight of what two views disagree on; with 1, one direction held 0.93 of the variance."""


@dataclass(frozen=True)
class PretextTiles:
    """Tiles as serving cuts them, and the truth about their crops."""

    pixels: Tensor
    """(n, 224, 224, 3) uint8"""
    count: Tensor
    """(n, PARTS, PARTS) nuclei"""
    mean_um: Tensor
    """(n, PARTS, PARTS) mean nuclear diameter"""


def read_pretext_tiles(
    slides: Sequence[Path], specs: Sequence[SlideSpec], reader: Reader
) -> PretextTiles:
    """Read the tissue tiles of slides through serving's reader, with the truth beside them."""
    contract = feature_contract(UNTRAINED)
    pixels, counts, means = [], [], []
    for slide, spec in zip(slides, specs, strict=True):
        truth = truth_of(spec, TILE_UM // PARTS)
        for event in reader.read(slide, contract):
            if isinstance(event, TileBatch):
                count, mean_um = _truth_at(truth, event.cells)  # (B, PARTS, PARTS) each
                pixels.append(event.pixels.copy())
                counts.append(count)
                means.append(mean_um)
    joined = (torch.from_numpy(np.concatenate(part)) for part in (pixels, counts, means))
    return PretextTiles(*joined)


def _truth_at(
    truth: TileTruth, cells: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Truth of each crop of the tiles at `cells` (B, 2), (B, PARTS, PARTS) each."""
    steps = np.arange(PARTS)  # (PARTS,)
    rows = cells[:, 1, None, None] * PARTS + steps[:, None]  # (B, PARTS, 1)
    columns = cells[:, 0, None, None] * PARTS + steps  # (B, 1, PARTS)
    return truth.count[rows, columns], truth.mean_um[rows, columns]


def train_encoder(
    tiles: PretextTiles,
    recipe: PretextRecipe,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> TileEncoder:
    """A He-initialised encoder, trained to tell log nuclear size and log number of its crops."""
    encoder = make_encoder(BACKBONE, seed)
    settling = tiles.pixels[:: max(len(tiles.pixels) // SETTLING_TILES, 1)]  # (~256, h, w, 3)
    encoder.normalise_for(settling)
    crops, target = _samples(tiles)  # (n, h, w, 3), (n, 2)
    teller = nn.Linear(FEATURE_DIM, 2)
    parameters = [*encoder.parameters(), *teller.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * (len(crops) // recipe.batch + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=steps, pct_start=0.2
    )
    encoder.to(memory_format=torch.channels_last).train()
    for _ in range(recipe.epochs):
        for some in torch.split(torch.randperm(len(crops)), recipe.batch):
            views = torch.cat([augmented(crops[some]), augmented(crops[some])])  # (2 B, 3, h, w)
            features = encoder.encode_unit(views)  # (2 B, D)
            loss = F.smooth_l1_loss(teller(features), target[some].repeat(2, 1))
            loss = loss + recipe.agreement * disagreement(features)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
        advance()
    encoder.to(memory_format=torch.contiguous_format)
    settle_batch_norm(encoder, settling)
    return encoder


def _samples(tiles: PretextTiles) -> tuple[Tensor, Tensor]:
    """Crops with enough nuclei (n, h, w, 3), and their standardised log size and number (n, 2)."""
    n, size = len(tiles.pixels), tiles.pixels.shape[1] // PARTS
    grid = tiles.pixels.view(n, PARTS, size, PARTS, size, 3)  # (N, P, h, P, w, 3)
    crops = grid.transpose(2, 3).reshape(-1, size, size, 3)  # (N P P, h, w, 3)
    usable = tiles.count.flatten() >= MIN_NUCLEI  # (N P P,)
    count, mean_um = tiles.count.flatten()[usable], tiles.mean_um.flatten()[usable]  # (n,) each
    target = torch.stack([mean_um.log(), count.log()], dim=1).float()  # (n, 2)
    return crops[usable], (target - target.mean(0)) / target.std(0)


def disagreement(features: Tensor) -> Tensor:
    """How far two views of the same crops (2 B, D) are apart, (): 0 the same, 1 unrelated.

    One less each feature's correlation between the views, as on the diagonal of Barlow Twins
    (Zbontar et al. 2021, eq. 1), averaged.
    """
    one, other = features.chunk(2)  # (B, D) each
    apart = (one - other).square().mean(dim=0)  # (D,)
    return (apart / (2 * features.var(dim=0) + 1e-6)).mean()  # ()


def augmented(crops: Tensor) -> Tensor:
    """Flip, transpose, restain and spoil crops (B, h, w, 3) uint8 -> (B, 3, h, w) in [0, 1]."""
    flips = torch.rand(3) < 0.5  # (3,)
    turned = crops.flip([axis for axis in (1, 2) if flips[axis]])  # (B, h, w, 3)
    turned = turned.transpose(1, 2) if flips[0] else turned  # (B, h, w, 3)
    return spoiled(restained(turned.permute(0, 3, 1, 2).float() / 255))  # (B, 3, h, w)


def restained(unit: Tensor) -> Tensor:
    """Stronger or weaker stains of other hues, (B, 3, h, w) in [0, 1]."""
    strength = torch.empty(len(unit), 1, 1, 1).uniform_(0.8, 1.25)  # (B, 1, 1, 1)
    hue = torch.empty(len(unit), 3, 1, 1).uniform_(0.9, 1.1)  # (B, 3, 1, 1)
    # Beer and Lambert: a power of light scales the stain; black is no light to take a power of.
    return (unit + 1e-3) ** (strength * hue)  # (B, 3, h, w)


def spoiled(unit: Tensor) -> Tensor:
    """Less sharp and noisier, as scanners and JPEG leave pictures, (B, 3, h, w) in [0, 1]."""
    blur, noise = torch.rand(2, len(unit), 1, 1, 1)  # (B, 1, 1, 1) each
    edged = F.pad(unit, (1, 1, 1, 1), mode="replicate")  # (B, 3, h + 2, w + 2)
    soft = F.avg_pool2d(edged, 3, stride=1)  # (B, 3, h, w)
    unit = torch.lerp(unit, soft, BLUR * blur)  # (B, 3, h, w)
    grain = NOISE * noise * torch.randn_like(unit)  # (B, 3, h, w)
    return torch.clamp(unit + grain, 0, 1)
