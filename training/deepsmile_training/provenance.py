"""Provenance: what a bundle was made of and with, as it stands in the bundle and on the card."""

import platform
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import deepsmile
from deepsmile.bag import FeatureBag
from deepsmile.digest import digest_of, digest_of_file
from deepsmile_training.cohort import LABELS, Split, labels_of, recipe_digest
from deepsmile_training.synthetic.specimen import SlideSpec

SERVING, TRAINING = Path(deepsmile.__file__).parent, Path(__file__).parent
"""Folders of the two packages."""
PACKAGES = (
    "cucim-cu12",
    "deepsmile",
    "imagecodecs",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "opencv-python-headless",
    "openslide-bin",
    "tifffile",
    "torch",
    "torchvision",
)


def cohort_provenance(
    specs: Sequence[SlideSpec], bags: Sequence[FeatureBag], split: Split
) -> dict[str, Any]:
    """The cohort in numbers, and a digest over the digests of its slides, in their order."""
    return {
        "slides": len(specs),
        "tiles": sum(len(bag.features) for bag in bags),
        "positives": {label.name: int(labels_of(label, specs).sum()) for label in LABELS},
        "test_slides": len(split.test),
        "fold_slides": [len(fold) for fold in split.folds],
        "slides_digest": digest_of([bag.slide_sha256 for bag in bags]),
        "recipe_digest": recipe_digest(specs),
    }


def software_versions() -> dict[str, str]:
    """Versions of everything installed that has a hand in the result."""
    found = {one.name: one.version for one in distributions()}
    used = {name: found[name] for name in PACKAGES if name in found}
    return {"python": platform.python_version(), **used}


def source_digest(package: Path, *names: str) -> str:
    """Digest of these modules of a package; without names, of all its source."""
    files = [package / name for name in names] or sorted(package.rglob("*.py"))
    return digest_of([[p.relative_to(package).as_posix(), digest_of_file(p)] for p in files])
