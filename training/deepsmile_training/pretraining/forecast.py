"""Forecast: what a run would do, and what it would take, without doing it."""

import time
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepsmile_training.encoders.tile_encoder import TileEncoder
from deepsmile_training.pretraining.loop import Run, Trainer, trainer_of
from deepsmile_training.pretraining.methods import Method

TIMED_TILES = 64
"""At most so many per step are timed."""
BACKWARD = 2
"""A step back costs about twice the step forward."""


@dataclass(frozen=True)
class Forecast:
    """Of a whole run; `taken` of its steps are behind it."""

    steps: int
    taken: int
    batch_used: int
    parameters: int
    exaflop: float
    hours: float
    """For the steps that are left, on this machine as it is, all ranks being like this one; from
    two steps of few tiles."""
    disk_bytes: int

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"steps       {self.steps} of {self.batch_used} tiles, two views each",
            f"parameters  {self.parameters / 1e6:.1f} million",
            f"arithmetic  {self.exaflop:.3g} EFLOP",
            f"time        {self.hours:.2g} hours for {self.steps - self.taken} steps"
            " if this machine goes on as in two small ones",
            f"disk        {self.disk_bytes / 1e6:.0f} MB at most, while a checkpoint is replaced",
        ]


def forecast(run: Run) -> Forecast:
    """Raises RequestInvalid if the run could not begin, or not go on; nothing is written."""
    order, few = run.order, _of_few_tiles(run)
    found = run.checkpoint()
    taken = found.step if found else 0
    trainer = trainer_of(few, found)
    encoder = trainer.method.encoder
    views = 2 * order.steps * order.batch_used
    step_s = _step_s(trainer)
    return Forecast(
        steps=order.steps,
        taken=taken,
        batch_used=order.batch_used,
        parameters=sum(part.numel() for part in encoder.parameters()),
        exaflop=views * (1 + BACKWARD) * _view_flop(encoder, run) / 1e18,
        hours=step_s * (order.steps - taken) * order.batch_used / few.order.batch_used / 3600,
        disk_bytes=2 * _checkpoint_bytes(trainer.method) + _encoders(run) * _bytes(encoder),
    )


def _of_few_tiles(run: Run) -> Run:
    batch = min(TIMED_TILES * run.world.size, run.config.batch)
    return replace(run, config=run.config.model_copy(update={"batch": batch, "accumulation": 1}))


def _step_s(trainer: Trainer) -> float:
    """Seconds of a step, the first one not counted."""
    order, tiles = trainer.order, trainer.run.tiles
    for _ in range(2):
        begun = time.perf_counter()
        rows = [order.rows(place) for place in order.places(0)]
        parts = [torch.from_numpy(tiles.read(some)) for some in rows]  # (B, S, S, 3) each
        trainer.take_step([part.to(trainer.run.world.device) for part in parts], dry=True)
        taken_s = time.perf_counter() - begun
    return taken_s


def _checkpoint_bytes(method: Method) -> int:
    """Weights, and Adam's two moments of those that learn."""
    learning = sum(each.numel() for each in method.parameters() if each.requires_grad)
    return _bytes(method) + 2 * 4 * learning


def _bytes(module: nn.Module) -> int:
    state = module.state_dict().values()
    return sum(each.numel() * each.element_size() for each in state)


def _encoders(run: Run) -> int:
    """How many a run leaves: the last one, and those that it keeps before."""
    every = run.config.running.keep_epochs
    return 1 + (run.config.epochs // every if every else 0)


def _view_flop(encoder: TileEncoder, run: Run) -> int:
    """Forward, of one view."""
    size = run.config.view_px
    view = torch.zeros(1, 3, size, size, device=run.world.device)  # (1, 3, v, v)
    encoder.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder.encode_unit(view)
    flop: int = counter.get_total_flops()
    return flop
