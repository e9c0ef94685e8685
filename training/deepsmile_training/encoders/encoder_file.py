"""EncoderFile: an encoder in a model repository, before there are heads for it.

A bundle needs a head, so an encoder alone is no bundle. `NAME.encoder.json` says all that a
bundle will say of it: the feature contract, the files with their digests, where it is from.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from deepsmile.bundle import (
    bundle_names,
    load_bundle,
    read_sealed,
    verify_files,
    write_sealed,
)
from deepsmile.contract import FeatureContract
from deepsmile.errors import BundleCorrupt, BundleUnknown
from deepsmile.frozen import Frozen, Name, Sha256
from deepsmile.settings import shipped_repository
from deepsmile.triton.models import ENCODER_SUFFIX

Colour = tuple[float, float, float]


class Preprocessing(Frozen):
    """What the graph does to bytes before its first layer; its digest covers all of it."""

    scale: Literal["0 to 1"]
    mean: Colour
    deviation: Colour
    """Subtracted and divided by, per channel, after scaling."""
    input_px: Annotated[int, Field(ge=1)]
    """Edge of what the backbone sees; other than the tiles', the graph resizes them bilinearly."""


class EncoderFile(Frozen):
    """`NAME.encoder.json` as it is written."""

    format: Literal["deepsmile-encoder/1"]
    name: Name
    backbone: str
    preprocessing: Preprocessing
    features: FeatureContract
    model: str
    card: str
    """Which of `files` is the ONNX graph, and which is for people."""
    files: dict[str, Sha256]
    """Digest of each file by its path from the repository's root."""
    provenance: dict[str, Any]
    """Where it came from: initialisation, training, export, what was measured."""


@dataclass(frozen=True)
class RepositoryEncoder:
    """An encoder of a repository, its files verified."""

    root: Path
    file: EncoderFile

    @property
    def path(self) -> Path:
        """The ONNX graph."""
        return self.root / self.file.model


def write_encoder(repository: Path, file: EncoderFile) -> RepositoryEncoder:
    """Seal and write an encoder whose files are in place, and load it back."""
    write_sealed(repository / f"{file.name}{ENCODER_SUFFIX}", file.model_dump(mode="json"))
    return load_encoder(repository, file.name)


def load_encoder(repository: Path, name: str) -> RepositoryEncoder:
    """Load `NAME.encoder.json` and check every digest.

    Raises:
        BundleUnknown: no encoder of that name.
        BundleCorrupt: a byte changed, a file is missing, or the contract names another graph.
    """
    path = repository / f"{name}{ENCODER_SUFFIX}"
    paths = repository.glob(f"*{ENCODER_SUFFIX}")
    known = sorted(one.name.removesuffix(ENCODER_SUFFIX) for one in paths)
    if name not in known:
        raise BundleUnknown(
            f"no encoder named {name!r}; this repository has: {', '.join(known) or 'none'}",
            hint="Make one with `deepsmile-train export-encoder`.",
        )
    file = read_sealed(path, lambda content, _: EncoderFile.model_validate(content))
    verify_files(repository, path, file.files, "encoder")
    if file.files.get(file.model) != file.features.encoder.sha256 or file.card not in file.files:
        raise BundleCorrupt(f"{path.name}: its contract or its card names no file of it")
    return RepositoryEncoder(repository, file)


def home_of(repository: Path, name: str) -> Path:
    """The repository, or the one that came with the code if only that has such an encoder."""
    shipped = shipped_repository()
    return shipped if not _has(repository, name) and _has(shipped, name) else repository


def _has(repository: Path, name: str) -> bool:
    return (repository / f"{name}{ENCODER_SUFFIX}").exists() or name in bundle_names(repository)


def pretrained_on(repository: Path, name: str) -> list[list[str]] | None:
    """Hashed names of the slides that an encoder learnt from, or None where it does not tell."""
    if (repository / f"{name}{ENCODER_SUFFIX}").exists():
        told = load_encoder(repository, name).file.provenance
    else:
        told = load_bundle(repository, name).file.provenance.get("encoder") or {}
    training = told.get("training") or {}
    slides: list[list[str]] | None = training.get("tiles", {}).get("slides")
    return slides


def find_encoder(repository: Path, name: str) -> tuple[Path, FeatureContract]:
    """The graph and the feature contract of an encoder, or of the bundle of that name.

    Raises:
        BundleUnknown: neither; the message lists the encoders.
        BundleCorrupt: a byte changed.
    """
    if (repository / f"{name}{ENCODER_SUFFIX}").exists() or name not in bundle_names(repository):
        found = load_encoder(repository, name)
        return found.path, found.file.features
    bundle = load_bundle(repository, name)
    return bundle.encoder_path, bundle.contract.features
