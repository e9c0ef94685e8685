"""Remarks: what a run does that its configuration alone does not tell."""

from collections.abc import Iterator

from deepsmile_training.pretraining.loop import Run
from deepsmile_training.pretraining.methods import joins_batch_norms
from deepsmile_training.pretraining.probing import Prober


def remarks(run: Run, taken: int, prober: Prober | None) -> Iterator[str]:
    """For people, before a run that has `taken` steps goes on."""
    config, order, world = run.config, run.order, run.world
    if taken:
        yield f"goes on from step {taken} of {order.steps}"
    if order.batch_used < config.batch:
        yield f"batch {order.batch_used}, not {config.batch}: ranks take equal shares"
    if config.sync_batch_norm and world.size > 1 and not joins_batch_norms(config, world):
        yield "sync_batch_norm is for GPUs: here batch norms see the tiles of one rank each"
    if config.precision == "bf16" and world.emulates_bf16:
        yield f"{world.name} has no units for bf16 and emulates it: try --set precision=fp32"
    if prober:
        yield f"neighbours are asked for: {', '.join(each.label for each in prober.asked)}"
    else:
        yield "neighbours are asked for nothing: no label of these tiles can be told by others"
