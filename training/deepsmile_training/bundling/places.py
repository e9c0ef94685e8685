"""Places: where a bundle's files go in a model repository that others are served from."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path

from deepsmile.bundle import bundle_names, load_bundle
from deepsmile.contract import FeatureContract
from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile_training.bundling.plan import Plan

NOVELTY_FILE = "novelty.npz"
"""Beside a head's ONNX file."""


def free_folder(out: Path, model: str, files: Mapping[str, Path]) -> Path:
    """MODEL/VERSION, the first version of which `out` has nothing but these very files.

    So no model that a bundle names is ever overwritten, and the same one is not stored twice.
    """
    return next(
        Path(model, str(version))
        for version in count(1)
        if all(_fits(out / model / str(version) / name, file) for name, file in files.items())
    )


def _fits(place: Path, file: Path) -> bool:
    return not place.exists() or digest_of_file(place) == digest_of_file(file)


def check_name(out: Path, plan: Plan, contract: FeatureContract) -> None:
    """Raises RequestInvalid if that name and version is a bundle with another encoder."""
    if plan.name not in bundle_names(out):
        return
    there = load_bundle(out, plan.name)
    if there.file.version != plan.version:
        return
    found, ours = there.contract.features.encoder, contract.encoder
    if found.sha256 != ours.sha256:
        raise RequestInvalid(
            f"{plan.name} {plan.version} is a bundle with the encoder {found.name}"
            f" ({found.sha256[:12]}), not {ours.name} ({ours.sha256[:12]})",
            hint="Choose another --name, or another --version: the former then stays for its jobs.",
        )
