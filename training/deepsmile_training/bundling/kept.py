"""Kept: trained heads in the cohort's folder, so that a bundle goes on where it stopped.

A file is named by the digest of everything that decides a training: another label, seed, recipe,
patient, feature or version of the software has another name, and is trained.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

from deepsmile.digest import digest_of
from deepsmile.errors import RequestInvalid
from deepsmile_training.bundling.source import Source
from deepsmile_training.cohorts.labels import FoldLabels
from deepsmile_training.encoders.weights import (
    digest_of_weights,
    fit,
    read_weights,
    write_weights,
)
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.training import Evaluation, Fitted
from deepsmile_training.provenance import TRAINING, software_versions, source_digest

MEMBERS = "members"
"""Folder of a prepared cohort."""


def trained_once(
    source: Source, labels: FoldLabels, config: MilConfig, train: Callable[[], Fitted]
) -> Fitted:
    """What `train` gives, or gave before; of its curve the best evaluation is kept.

    Raises:
        RequestInvalid: what was kept is damaged.
    """
    path = source.prepared.root / MEMBERS / f"{_key(source, labels, config)[:16]}.pt"
    if path.exists():
        return _read(path, labels, config)
    fitted = train()
    assert fitted.best is not None, "there is a validation part"
    path.parent.mkdir(exist_ok=True)
    content = {"head": fitted.head.state_dict(), "best": asdict(fitted.best)}
    write_weights({"weights": digest_of_weights(fitted.head)} | content, path)
    return fitted


def _key(source: Source, labels: FoldLabels, config: MilConfig) -> str:
    parts = {
        part: [[name, labels.of[name]] for name in labels.patients(part)]
        for part in ("train", "val")
    }
    return digest_of(
        {
            **parts,
            "classes": len(labels.classes),
            "config": config.model_dump(mode="json"),
            "cohort": source.prepared.cohort.digest,
            "features": source.known.digest,
            "software": _software(),
        }
    )


@cache
def _software() -> str:
    """Digest of what trains, as it was at the first training."""
    return digest_of([software_versions(), source_digest(TRAINING)])


def _read(path: Path, labels: FoldLabels, config: MilConfig) -> Fitted:
    content = read_weights(path)
    state = content["head"]
    head = config.head.build(len(state["mean"]), len(labels.classes), he=config.recipe.he)
    fit(head, state, path.name)
    if digest_of_weights(head) != content["weights"]:
        hint = "Delete it: it is trained again."
        raise RequestInvalid(f"{path}: it was changed since it was written", hint=hint)
    return Fitted(head.eval(), best=Evaluation(**content["best"]))
