"""Bags: the slides that a head learns from, packed in one tensor, checked at the door."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepsmile.bag import Features
from deepsmile.errors import BagCorrupt, BundleMismatch, RequestInvalid


@dataclass(frozen=True)
class Slide:
    """One slide's tile features, as they come."""

    name: str
    """What the tile subsample is seeded with: the slide's digest, or another name it keeps."""
    patient: str
    features: Features
    """(N, H)"""


@dataclass(frozen=True)
class Bags:
    """n bags, one after the other."""

    features: Tensor
    """(sum of N, H) float32"""
    offsets: Tensor
    """(n + 1,) where each bag begins, and the last ends"""
    patients: tuple[str, ...]
    """(n,)"""

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def sizes(self) -> Tensor:
        """(n,) tiles of each bag."""
        return self.offsets.diff()

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Bags (b,) by index -> features (b, N, H), mask (b, N), N of the largest.

        Padding repeats a bag's last tile: heads never look at it, and it is always finite.
        """
        sizes = self.sizes[chosen].unsqueeze(1)  # (b, 1)
        step = torch.arange(int(sizes.max())).unsqueeze(0)  # (1, N)
        rows = self.offsets[chosen].unsqueeze(1) + torch.minimum(step, sizes - 1)  # (b, N)
        features = self.features.index_select(0, rows.flatten())  # (b N, H)
        return features.view(*rows.shape, -1), step < sizes  # (b, N, H), (b, N)

    def select(self, chosen: Sequence[int] | NDArray[np.int64]) -> "Bags":
        """Some bags, copied."""
        parts = [self.features[self.offsets[i] : self.offsets[i + 1]] for i in chosen]
        return _packed(parts, [self.patients[i] for i in chosen])


def pack(
    slides: Sequence[Slide], *, tiles: int | None = None, seed: int = 0, by_patient: bool = False
) -> Bags:
    """Pack slides in the order given, or each patient's slides as one bag in the order of names.

    A bag of more than `tiles` is subsampled once (paper section 4.2.2), by its name and the seed
    alone, whatever comes before or after it.

    Raises:
        RequestInvalid: no slides, a slide without tiles, or a name that comes twice.
        BundleMismatch: features of different lengths.
        BagCorrupt: features that are not finite.
    """
    _check(slides)
    groups = _of_patients(slides) if by_patient else [[slide] for slide in slides]
    parts = [_subsampled(group, tiles, seed) for group in groups]
    return _packed(parts, [group[0].patient for group in groups])


def subsample(size: int, tiles: int, *, seed: int, name: str) -> NDArray[np.int64]:
    """Rows of `tiles` of `size` tiles, in order; the same for the same seed and name."""
    digest = hashlib.sha256(name.encode()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8])])
    rows: NDArray[np.int64] = np.sort(rng.choice(size, tiles, replace=False))  # (tiles,)
    return rows


def pad_bags(bags: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Bags (N_b, H) -> features (B, N, H) padded with zeros, mask (B, N)."""
    features = nn.utils.rnn.pad_sequence(list(bags), batch_first=True)  # (B, N, H)
    sizes = torch.tensor([len(bag) for bag in bags])  # (B,)
    return features, torch.arange(features.shape[1]) < sizes.unsqueeze(1)  # (B, N, H), (B, N)


def _check(slides: Sequence[Slide]) -> None:
    if not slides:
        raise RequestInvalid("no slides", hint="Give at least one slide to train on.")
    if len({slide.name for slide in slides}) < len(slides):
        raise RequestInvalid("a slide's name comes twice", hint="Give each slide once.")
    width = slides[0].features.shape[-1]
    for slide in slides:
        shape = slide.features.shape
        if len(shape) != 2 or shape[1] != width:
            raise BundleMismatch(f"slide {slide.name}: features {shape}, others (N, {width})")
        if not len(slide.features):
            raise RequestInvalid(f"slide {slide.name} has no tiles", hint="Leave the slide out.")
        if not np.isfinite(slide.features).all():
            raise BagCorrupt(f"slide {slide.name}: features that are not finite")


def _of_patients(slides: Sequence[Slide]) -> list[list[Slide]]:
    groups: dict[str, list[Slide]] = {}
    for slide in slides:
        groups.setdefault(slide.patient, []).append(slide)
    return [sorted(group, key=lambda slide: slide.name) for group in groups.values()]


def _subsampled(group: Sequence[Slide], tiles: int | None, seed: int) -> Tensor:
    features = np.concatenate([slide.features for slide in group])  # (N, H)
    if tiles is not None and len(features) > tiles:
        name = "\n".join(slide.name for slide in group)
        features = features[subsample(len(features), tiles, seed=seed, name=name)]  # (tiles, H)
    return torch.from_numpy(features.astype(np.float32, copy=False))


def _packed(parts: Sequence[Tensor], patients: Sequence[str]) -> Bags:
    sizes = torch.tensor([0, *(len(part) for part in parts)])  # (n + 1,)
    return Bags(torch.cat(list(parts)), sizes.cumsum(0), tuple(patients))
