"""Pre-training: from tiles and a configuration to an encoder with its provenance.

A run's folder holds config.yaml, checkpoint.pt, metrics.jsonl, tensorboard/, and at the end
encoder.pt with encoder.json beside it.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from deepsmile.digest import digest_of_file
from deepsmile.disk import write_file
from deepsmile_training.encoders.checkpoint import save_checkpoint
from deepsmile_training.encoders.initialisation import Origin
from deepsmile_training.pretraining.logbook import read_log
from deepsmile_training.pretraining.loop import Run, Trainer, train
from deepsmile_training.pretraining.methods import first_encoder, joins_batch_norms, make_method
from deepsmile_training.pretraining.probing import prober_of
from deepsmile_training.pretraining.remarks import remarks
from deepsmile_training.pretraining.room import needing_room
from deepsmile_training.provenance import software_versions
from deepsmile_training.stage import Stage

CONFIG, ENCODER, PROVENANCE = "config.yaml", "encoder.pt", "encoder.json"


@needing_room("no room for the run's files")
def pretrain(
    run: Run, stopping: Callable[[], bool], *, stage: Stage, say: Callable[[str], None]
) -> bool:
    """Train, and write the encoder; False if it was stopped before its end.

    Given again, it goes on where it stopped. The leading rank begins with what it has to `say`.

    Raises:
        RequestInvalid: the folder holds another run, the tiles do not do, or the loss is not
            finite.
        StorageFull
    """
    steps = run.order.steps
    encoder, origin = first_encoder(run.config)
    trainer = Trainer(run, make_method(encoder, run.config, run.world))
    run.folder.mkdir(parents=True, exist_ok=True)
    trainer.resume()
    prober = None
    if run.world.leads:
        values = run.config.model_dump(mode="json")
        write_file(run.folder / CONFIG, yaml.safe_dump(values, sort_keys=False))
        prober = prober_of(run.tiles, run.config.view_px)
        for remark in remarks(run, trainer.step, prober):
            say(remark)
    advance = stage("pre-training", steps)
    for _ in range(trainer.step):
        advance()
    train(trainer, stopping, advance=advance, prober=prober)
    ended = trainer.step == steps
    if ended and run.world.leads:
        _write_encoder(trainer, origin)
    return ended


def _write_encoder(trainer: Trainer, origin: Origin) -> None:
    path = trainer.run.folder / ENCODER
    save_checkpoint(trainer.method.encoder.cpu(), path)
    told = json.dumps(_provenance(trainer, origin, path), indent=2)
    write_file(trainer.run.folder / PROVENANCE, told + "\n")


def _provenance(trainer: Trainer, origin: Origin, path: Path) -> dict[str, Any]:
    run, config, order = trainer.run, trainer.run.config, trainer.order
    log = read_log(run.folder)
    losses = [entry["loss"] for entry in log if "loss" in entry]
    private = {"initialisation": {"path"}}  # `origin` has the file's name and digest
    return {
        "encoder": {"file": path.name, "sha256": digest_of_file(path)},
        "backbone": config.backbone,
        "method": config.method,
        "initialisation": asdict(origin),
        "config": config.model_dump(mode="json", exclude=private),
        "recipe_sha256": config.recipe_digest,
        "seed": config.seed,
        "tiles": {"sha256": run.tiles.digest, "number": len(run.tiles)},
        "steps": order.steps,
        "batch_used": order.batch_used,
        "ranks": run.world.size,
        "batch_norms_joined": joins_batch_norms(config, run.world),
        "device": run.world.name,
        "loss": {"first": losses[0], "last": losses[-1]} if losses else None,
        "log": log[-2:],
        "software": software_versions(),
    }
