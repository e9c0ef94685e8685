"""Loop: steps of a method over tiles, until the last one or until it is told to stop."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.initialisation import Origin
from deepsmile_training.encoders.weights import write_weights
from deepsmile_training.pretraining.checkpoint import (
    Checkpoint,
    check_alike,
    load_checkpoint,
    save_checkpoint,
)
from deepsmile_training.pretraining.config import PretrainConfig
from deepsmile_training.pretraining.diagnostics import Meter, spread_of
from deepsmile_training.pretraining.distributed import World
from deepsmile_training.pretraining.loading import Tiles, load
from deepsmile_training.pretraining.logbook import Logbook
from deepsmile_training.pretraining.methods import Method, first_encoder, make_method, prepare
from deepsmile_training.pretraining.order import NETWORK, Order, Parts, Place, seed_of
from deepsmile_training.pretraining.outcome import Outcome
from deepsmile_training.pretraining.probing import Prober
from deepsmile_training.pretraining.views import make_views


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and where it is kept."""

    config: PretrainConfig
    tiles: Tiles
    folder: Path
    world: World

    @property
    def order(self) -> Order:
        return Order.of(self.config, len(self.tiles), self.world)

    def checkpoint(self) -> Checkpoint | None:
        """What every rank goes on from, None at first.

        Raises:
            RequestInvalid: it is damaged, of another run, or not the same for all ranks.
        """
        found = load_checkpoint(self.folder, self.config, self.tiles.tiles_digest)
        check_alike(found, self.folder, self.world)
        return found


class Trainer:
    """A method with its optimiser, after `step` steps; `origin` tells of its first weights."""

    def __init__(self, run: Run, method: Method, origin: Origin) -> None:
        config, device = run.config, run.world.device
        self.run, self.order, self.origin, self.step = run, run.order, origin, 0
        self.method = prepare(method, config, run.world)
        learning = [part for part in self.method.parameters() if part.requires_grad]
        adam = config.adam
        self.optimiser = torch.optim.Adam(
            learning,
            adam.learning_rate,
            (adam.beta1, adam.beta2),
            weight_decay=adam.weight_decay,
            fused=device.type == "cuda",
        )
        self._forward = DistributedDataParallel(self.method) if run.world.size > 1 else self.method

    @property
    def epochs(self) -> int:
        """How many have just become complete; 0 within one."""
        epochs, rest = divmod(self.step, self.order.steps_per_epoch)
        return 0 if rest else epochs

    def resume(self, found: Checkpoint) -> None:
        """Go on from there."""
        self.method.load_state_dict(found.method)
        self.optimiser.load_state_dict(found.optimiser)
        self.step = found.step

    def save(self) -> None:
        """Keep this state as the run's checkpoint; the leading rank's."""
        run = self.run
        if run.world.leads:
            kept = Checkpoint(
                step=self.step,
                recipe=run.config.recipe,
                origin=asdict(self.origin),
                tiles_digest=run.tiles.tiles_digest,
                method=self.method.state_dict(),
                optimiser=self.optimiser.state_dict(),
            )
            save_checkpoint(kept, run.folder)

    def take_step(self, parts: list[Tensor], *, dry: bool = False) -> tuple[float, Tensor]:
        """One step on this rank's parts (B, S, S, 3) of it: loss over all ranks, z (2, B, d).

        Raises:
            RequestInvalid: the loss is not finite; nothing is learnt from it. Unless it is `dry`,
                its batch is kept.
            StorageFull: nor could its batch be kept.
        """
        config, order = self.run.config, self.order
        torch.manual_seed(
            seed_of(config.seed, NETWORK, self.step * order.world.size + order.world.rank)
        )
        self.optimiser.zero_grad()
        losses: list[Tensor] = []
        for place, tiles in zip(order.places(self.step), parts, strict=True):
            last = len(losses) == len(parts) - 1
            with self._gradients(together=last):
                outcome = self.outcome(place, tiles)
                torch.autograd.backward(outcome.loss / len(parts))
            losses.append(outcome.loss.detach())
        own = torch.stack(losses).mean()  # ()
        loss = float(order.world.mean(own))
        if not math.isfinite(loss):
            self._refuse(parts, own, dry=dry)
        self.optimiser.step()
        self.step += 1
        self.method.after_step(self.step / order.steps)
        return loss, outcome.z.detach()

    def outcome(self, place: Place, tiles: Tensor) -> Outcome:
        """Loss and embeddings of tiles (B, S, S, 3) at a place."""
        config, device = self.run.config, self.run.world.device
        draws = self.order.draws(config.augmentation, tiles.shape[1], place)
        views = torch.cat(
            [make_views(tiles, each, config.view_px) for each in draws]
        )  # (2B, 3, v, v)
        last = config.running.channels_last
        kind = torch.channels_last if last else torch.contiguous_format
        views = views.contiguous(memory_format=kind)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            outcome: Outcome = self._forward(views)
        return outcome

    def _gradients(self, *, together: bool) -> AbstractContextManager[None]:
        """Gradients of all ranks are averaged once per step, with its last part."""
        if together or not isinstance(self._forward, DistributedDataParallel):
            return nullcontext()
        return self._forward.no_sync()

    def _refuse(self, parts: list[Tensor], loss: Tensor, *, dry: bool) -> None:
        said = f"the loss of step {self.step} is not finite"
        if dry:
            hint = "Lower adam.learning_rate, or use fp32; without --dry-run its batch is kept."
            raise RequestInvalid(said, hint=hint)
        run = self.run
        path = run.folder / f"bad_batch_{self.step}_{run.world.rank}.pt"
        rows = [self.order.rows(place) for place in self.order.places(self.step)]
        tiles = [part.cpu() for part in parts]  # (B, S, S, 3) each
        write_weights({"step": self.step, "loss": loss.cpu(), "rows": rows, "tiles": tiles}, path)
        raise RequestInvalid(
            f"{said}; its batch is kept as {path}",
            hint="Look at the batch's tiles; else lower adam.learning_rate, or use fp32.",
        )


def trainer_of(run: Run, found: Checkpoint | None) -> Trainer:
    """Where the checkpoint left the run, or at its beginning."""
    encoder, origin = first_encoder(run.config, Origin(**found.origin) if found else None)
    trainer = Trainer(run, make_method(encoder, run.config, run.world), origin)
    if found:
        trainer.resume(found)
    return trainer


def train(
    trainer: Trainer,
    stopping: Callable[[], bool],
    *,
    advance: Callable[[], None],
    prober: Prober | None = None,
    keep: Callable[[int], None] | None = None,
) -> None:
    """Train to the last step, or to the one at which any rank is `stopping`; then checkpoint.

    The leading rank is asked to `keep` its encoder after each so many epochs.
    """
    run = trainer.run
    with Logbook(run.folder, trainer.step) if run.world.leads else nullcontext() as book:
        note = Note(trainer, book, prober, keep)
        if trainer.step == 0:
            note.probe()
        note.keep_encoder()  # what was stopped after this step's checkpoint may not have
        saved_s = time.monotonic()
        for parts in note.meter.awaited(_steps(trainer)):
            with note.meter.working(trainer.order.batch_used):
                loss, z = trainer.take_step(parts)
            ended = trainer.step == trainer.order.steps
            stopped = not ended and run.world.any(stopping())
            late = time.monotonic() - saved_s > run.config.running.checkpoint_minutes * 60
            if ended or stopped or late:
                trainer.save()  # first: who stops a run may not wait, and the log may find no room
                saved_s = time.monotonic()
            note.step(loss, z, ended=ended, stopped=stopped)
            advance()
            if ended or stopped:
                return


@dataclass(frozen=True)
class Note:
    """What the leading rank writes down; the others write nothing."""

    trainer: Trainer
    book: Logbook | None
    prober: Prober | None
    keep: Callable[[int], None] | None
    meter: Meter = field(default_factory=Meter)

    def step(self, loss: float, z: Tensor, *, ended: bool, stopped: bool) -> None:
        """The figures of a step, if it is one of those that are noted."""
        step, running = self.trainer.step, self.trainer.run.config.running
        if self.book and (ended or stopped or step % running.log_steps == 0):
            self.book.write(step, {"loss": loss, **spread_of(z), **self.meter.read()})
        self.keep_encoder()
        epochs = self.trainer.epochs
        if ended or (not stopped and epochs and epochs % running.probe_epochs == 0):
            self.probe()

    def keep_encoder(self) -> None:
        """Keep it if its epochs are complete, and of those to keep it after."""
        epochs, every = self.trainer.epochs, self.trainer.run.config.running.keep_epochs
        if self.book and self.keep and epochs and every and epochs % every == 0:
            self.keep(epochs)

    def probe(self) -> None:
        """Ask the labels of the tiles' neighbours."""
        if self.book and self.prober:
            trainer = self.trainer
            told = self.prober.probe(trainer.method.encoder, trainer.run.world.device)
            self.book.write(trainer.step, told)


def _steps(trainer: Trainer) -> Iterator[list[Tensor]]:
    """This rank's parts (B, S, S, 3) of each step that is left, on its device."""
    run, order = trainer.run, trainer.order
    device = run.world.device
    rows = Parts(order, trainer.step)
    pinned = device.type == "cuda"
    batches = iter(load(run.tiles, rows, run.config.running, pinned=pinned))
    while parts := list(islice(batches, order.parts)):
        yield [part.to(device, non_blocking=True) for part in parts]
