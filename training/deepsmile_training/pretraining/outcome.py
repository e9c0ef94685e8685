"""Outcome: what a method gives for a batch."""

from typing import NamedTuple

from torch import Tensor


class Outcome(NamedTuple):
    """Of this rank's B tiles."""

    loss: Tensor
    """() mean over them"""
    z: Tensor
    """(2, B, d) embeddings of both views"""
