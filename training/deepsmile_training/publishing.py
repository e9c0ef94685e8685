"""Publishing: models, card and contract as a sealed bundle in a model repository."""

import shutil
from pathlib import Path
from typing import Any

from deepsmile.bundle import Bundle, write_bundle
from deepsmile.contract import Contract
from deepsmile.digest import digest_of_file
from deepsmile.triton.config import Target, write_configs

NAME, VERSION = "demo", "1"
NOTICE = "Synthetic data, no clinical meaning: trained on painted cartoons of H&E, not on patients."
CARD = f"{NAME}.card.md"
ENCODER = f"{NAME}_encoder"


def head_model(label: str) -> str:
    """Name of a head's model folder."""
    return f"{NAME}_{label}"


def model_path(repository: Path, model: str) -> Path:
    """Where Triton looks for version 1 of a model."""
    return repository / model / "1" / "model.onnx"


def seal(repository: Path, contract: Contract, card: str, provenance: dict[str, Any]) -> Bundle:
    """Write the card, then the bundle of it and of the models that are in place."""
    (repository / CARD).write_text(card)
    models = [ENCODER, *(head_model(head.name) for head in contract.heads)]
    files = [repository / CARD, *(model_path(repository, model) for model in models)]
    return write_bundle(
        repository,
        {
            "format": "deepsmile-bundle/1",
            "name": NAME,
            "version": VERSION,
            "notice": NOTICE,
            "contract": contract.model_dump(mode="json"),
            "files": {p.relative_to(repository).as_posix(): digest_of_file(p) for p in files},
            "card": CARD,
            "provenance": provenance,
        },
    )


def publish(candidate: Bundle, out: Path, card: str, provenance: dict[str, Any]) -> Bundle:
    """Copy a candidate's models to the repository `out` and seal them there, now with a card."""
    for relative in candidate.file.files:
        copy_file(candidate.root / relative, out / relative)
    bundle = seal(out, candidate.contract, card, provenance)
    write_configs(out, Target.GPU)
    return bundle


def copy_file(source: Path, target: Path) -> None:
    """Copy, making the folders on the way; readers see the old file or the whole new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".tmp")
    shutil.copyfile(source, partial)
    partial.replace(target)
