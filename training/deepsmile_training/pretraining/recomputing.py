"""Recomputing: blocks that are computed again on the way back instead of being kept."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.tile_encoder import TileEncoder


def recompute_blocks(encoder: TileEncoder) -> None:
    """Keep of each block of the backbone's stages its input only; all else is as without.

    Raises:
        RequestInvalid: the backbone has no stages of blocks.
    """
    stages = [part for part in encoder.backbone.children() if isinstance(part, nn.Sequential)]
    blocks = [block for stage in stages for block in stage if any(block.children())]
    if not blocks:
        raise RequestInvalid(
            f"gradient_checkpointing: {encoder.name} has no stages of blocks",
            hint="Set gradient_checkpointing: false, and lower batch.",
        )
    for block in blocks:
        block.forward = partial(_recomputed, block, block.forward)


def _recomputed(block: nn.Module, forward: Callable[..., Tensor], *given: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # such a graph moves statistics once by itself
        return checkpoint(forward, *given, use_reentrant=False)
    contexts = partial(_contexts, block)
    return checkpoint(forward, *given, use_reentrant=False, context_fn=contexts)


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the way forward, and of the recomputation."""
    return nullcontext(), _statistics_aside(block)


@contextmanager
def _statistics_aside(block: nn.Module) -> Iterator[None]:
    """Batch norms see their batch a second time: what they count of it is thrown away."""
    kept = [
        (part, name, buffer)
        for part in block.modules()
        for name, buffer in part.named_buffers(recurse=False)
    ]
    for part, name, buffer in kept:
        setattr(part, name, buffer.clone())
    try:
        yield
    finally:
        for part, name, buffer in kept:
            setattr(part, name, buffer)
