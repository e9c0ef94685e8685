"""Provenance: what a bundle was made of and with, as it stands in the bundle and on the card."""

import platform
from importlib.metadata import distributions
from pathlib import Path

import deepsmile
from deepsmile.digest import digest_of, digest_of_file

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


def software_versions() -> dict[str, str]:
    """Versions of everything installed that has a hand in the result."""
    found = {one.name: one.version for one in distributions()}
    used = {name: found[name] for name in PACKAGES if name in found}
    return {"python": platform.python_version(), **used}


def source_digest(package: Path, *names: str) -> str:
    """Digest of these modules of a package; without names, of all its source."""
    files = [package / name for name in names] or sorted(package.rglob("*.py"))
    return digest_of([[p.relative_to(package).as_posix(), digest_of_file(p)] for p in files])
