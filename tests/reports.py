"""Reports under test: their answers by kind, and bundles with other contracts."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from deepsmile.bundle import Bundle, write_bundle
from deepsmile.digest import digest_of_file
from deepsmile.novelty import TrainingSpace
from deepsmile.report import Abstained, Report, Scored
from tests.making import FEATURE_DIM


def scored(report: Report, index: int = 0) -> Scored:
    """The answer of a head that scored."""
    head = report.heads[index]
    assert isinstance(head, Scored)
    return head


def abstained(report: Report, index: int = 0) -> Abstained:
    """The answer of a head that declined."""
    head = report.heads[index]
    assert isinstance(head, Abstained)
    return head


def changed(bundle: Bundle, root: Path, **changes: Any) -> Bundle:
    """The tiny bundle with other contract sections (`features`) or heads (`heads`)."""
    repository = Path(shutil.copytree(bundle.root, root / "changed"))
    content = json.loads((repository / "tiny.bundle.json").read_text())
    del content["digest"]
    for section, value in changes.get("features", {}).items():
        content["contract"]["features"][section] = value
    head = content["contract"]["heads"][0]
    if "heads" in changes:
        content["contract"]["heads"] = [{**head, **other} for other in changes["heads"]]
    return write_bundle(repository, content)


def space_of(dim: int = FEATURE_DIM) -> TrainingSpace:
    """Two directions, centred at a half."""
    return TrainingSpace(
        centre=np.full(dim, 0.5),
        directions=np.eye(2, dim, dtype=np.float32),
        scale=np.array([0.1, 0.2]),
        rest=np.array([0.1, 0.05]),
    )


def with_novelty(bundle: Bundle, root: Path, content: TrainingSpace | bytes, at: float) -> Bundle:
    """The tiny bundle with a space, or what is none, and a threshold."""
    repository = Path(shutil.copytree(bundle.root, root / "novel"))
    path = bundle.head_path(bundle.contract.heads[0]).with_name("novelty.npz")
    place = path.relative_to(bundle.root).as_posix()
    if isinstance(content, bytes):
        (repository / place).write_bytes(content)
    else:
        content.save(repository / place)
    sha256 = digest_of_file(repository / place)
    file = json.loads((repository / "tiny.bundle.json").read_text())
    del file["digest"]
    file["files"][place] = sha256
    rule = {"sha256": sha256, "threshold": at, "rate": 0.01, "basis": "made up"}
    file["contract"]["heads"][0]["novelty"] = rule
    return write_bundle(repository, file)
