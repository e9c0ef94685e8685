"""Places: where a bundle's files go in a model repository that others are served from."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from deepsmile.bundle import bundle_names, load_bundle, superseded_bundles
from deepsmile.digest import digest_of, digest_of_file
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


def check_name(out: Path, plan: Plan, record: Mapping[str, Any]) -> None:
    """Raises RequestInvalid if that name and version is a bundle that was made of anything else.

    Replaced under its own version it would fail its waiting jobs, and its reports would replay no
    more. The same made again is the same, and may be.
    """
    taken = [one for one in superseded_bundles(out) if one.name == plan.name]
    if plan.name in bundle_names(out):
        taken.append(load_bundle(out, plan.name))
    for there in taken:
        made_of = there.file.provenance
        # By their JSON: one was read from a file.
        others = [key for key in record if digest_of(made_of.get(key)) != digest_of(record[key])]
        if there.file.version == plan.version and others:
            raise RequestInvalid(
                f"{plan.name} {plan.version} is there, made with another {', '.join(others)}",
                hint="Give --version 2, or the next that is free: the former then stays for its"
                " jobs and reports. Or choose another --name.",
            )
