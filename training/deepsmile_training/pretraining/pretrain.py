"""Pre-training: from tiles and a configuration to an encoder with its provenance.

A run's folder holds config.yaml, checkpoint.pt, metrics.jsonl, tensorboard/, and at the end
encoder.pt with encoder.json beside it; encoder-epoch5.pt is the encoder after 5 epochs, if it is
kept.
"""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from deepsmile.digest import digest_of_file
from deepsmile.disk import alone, write_file
from deepsmile_training.cohorts.untouched import hashed_slide
from deepsmile_training.encoders.checkpoint import save_checkpoint
from deepsmile_training.pretraining.loading import Tiles, naming_lost_workers
from deepsmile_training.pretraining.logbook import read_log
from deepsmile_training.pretraining.loop import Run, Trainer, train, trainer_of
from deepsmile_training.pretraining.methods import joins_batch_norms
from deepsmile_training.pretraining.probing import Prober, prober_of
from deepsmile_training.pretraining.remarks import remarks
from deepsmile_training.pretraining.room import needing_room
from deepsmile_training.provenance import software_versions
from deepsmile_training.stage import Stage
from deepsmile_training.tilesets.store import TileStore

CONFIG, ENCODER = "config.yaml", "encoder.pt"


@needing_room("no room for the run's files")
def pretrain(
    run: Run, stopping: Callable[[], bool], *, stage: Stage, say: Callable[[str], None]
) -> bool:
    """Train, and write the encoder; False if it was stopped before its end.

    Given again, it goes on where it stopped. The leading rank begins with what it has to `say`.

    Raises:
        RequestInvalid: the folder holds another run, or one that is under way; the tiles do not
            do, the loss is not finite, or a process that reads tiles was killed.
        StorageFull
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    others = alone(run.folder / ".lock", f"{run.folder}: another run trains there")
    with others if run.world.leads else nullcontext():
        trainer = trainer_of(run, run.checkpoint())
        prober = _begin(trainer, say) if run.world.leads else None
        advance = stage("pre-training", trainer.order.steps)
        for _ in range(trainer.step):
            advance()
        keep = partial(_keep_encoder, trainer)
        with naming_lost_workers():
            train(trainer, stopping, advance=advance, prober=prober, keep=keep)
        ended = trainer.step == trainer.order.steps
        if ended and run.world.leads:
            _write_encoder(trainer, run.folder / ENCODER)
    return ended


def _begin(trainer: Trainer, say: Callable[[str], None]) -> Prober | None:
    run = trainer.run
    values = run.config.model_dump(mode="json")
    write_file(run.folder / CONFIG, yaml.safe_dump(values, sort_keys=False))
    prober = prober_of(run.tiles, run.config.view_px)
    for remark in remarks(run, trainer.step, prober):
        say(remark)
    return prober


def _keep_encoder(trainer: Trainer, epochs: int) -> None:
    _write_encoder(trainer, trainer.run.folder / f"encoder-epoch{epochs}.pt")


def _write_encoder(trainer: Trainer, path: Path) -> None:
    save_checkpoint(trainer.method.encoder, path)
    told = json.dumps(_provenance(trainer, path), indent=2)
    write_file(path.with_suffix(".json"), told + "\n")


def _provenance(trainer: Trainer, path: Path) -> dict[str, Any]:
    run, config = trainer.run, trainer.run.config
    log = read_log(run.folder)
    losses = [entry["loss"] for entry in log if "loss" in entry]
    private = {"initialisation": {"path"}}  # the origin has the file's name and digest
    return {
        "encoder": {"file": path.name, "sha256": digest_of_file(path)},
        "backbone": config.backbone,
        "method": config.method,
        "initialisation": asdict(trainer.origin),
        "config": config.model_dump(mode="json", exclude=private),
        "recipe_sha256": config.recipe_digest,
        "seed": config.seed,
        "tiles": {"sha256": run.tiles.digest, "number": len(run.tiles)} | _slides(run.tiles),
        "steps": trainer.step,
        "batch_used": trainer.order.batch_used,
        "ranks": run.world.size,
        "batch_norms_joined": joins_batch_norms(config, run.world),
        "device": run.world.name,
        "loss": {"first": losses[0], "last": losses[-1]} if losses else None,
        "log": log[-2:],
        "software": software_versions(),
    }


def _slides(tiles: Tiles) -> dict[str, Any]:
    """Whose they are, for those who will test what was learnt; tiles of no store do not tell."""
    if not isinstance(tiles, TileStore):
        return {}
    return {"slides": [hashed_slide(one.name, one.case) for one in tiles.slides]}
