"""Bundle: a contract with the files it names, verified byte for byte before use.

On disk a bundle is `NAME.bundle.json` at the top of a model repository, beside the model
folders that Triton serves (`MODEL/VERSION/model.onnx`), which several bundles may share.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from deepsmile.contract import Contract, Head, Novelty
from deepsmile.digest import digest_of, digest_of_file
from deepsmile.disk import write_file
from deepsmile.errors import BundleCorrupt, BundleMismatch, BundleUnknown
from deepsmile.frozen import Name, Sha256

Sealed = TypeVar("Sealed")

SUFFIX = ".bundle.json"
SUPERSEDED = "@"
"""Between name and version of a bundle that was replaced; no name has one."""
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}$")]


class BundleFile(BaseModel):
    """`NAME.bundle.json` as it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal["deepsmile-bundle/1"]
    name: Name
    version: Version
    notice: str
    """Said beside every score, e.g. that the model saw synthetic data only."""
    contract: Contract
    files: dict[str, Sha256]
    """Digest of each file by its path from the repository's root: models and card."""
    card: str
    """Which of `files` is the model card."""
    provenance: dict[str, Any]
    """Where it came from: command, data, seeds, metrics, software."""
    digest: Sha256
    """SHA-256 of the canonical JSON of everything above."""


@dataclass(frozen=True)
class Bundle:
    """A loaded and verified bundle."""

    root: Path
    file: BundleFile

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def contract(self) -> Contract:
        return self.file.contract

    @property
    def digest(self) -> str:
        return self.file.digest

    @property
    def encoder_path(self) -> Path:
        return self._path_of(self.contract.features.encoder.sha256)

    def head_path(self, head: Head) -> Path:
        return self._path_of(head.sha256)

    def novelty_path(self, novelty: Novelty) -> Path:
        return self._path_of(novelty.sha256)

    def card(self) -> str:
        """The model card, Markdown."""
        return (self.root / self.file.card).read_text()

    def _path_of(self, sha256: str) -> Path:
        return self.root / next(p for p, digest in self.file.files.items() if digest == sha256)


def bundle_names(repository: Path) -> list[str]:
    """Names of the bundles in a model repository, sorted; superseded ones are not among them."""
    names = (path.name.removesuffix(SUFFIX) for path in repository.glob(f"*{SUFFIX}"))
    return sorted(name for name in names if SUPERSEDED not in name)


def load_bundle(repository: Path, name: str) -> Bundle:
    """Load `NAME.bundle.json` and check every digest.

    Raises:
        BundleUnknown: no bundle of that name.
        BundleCorrupt: a byte changed, a file is missing, or the contract names no file.
    """
    if name not in bundle_names(repository):
        known = ", ".join(bundle_names(repository)) or "none"
        raise BundleUnknown(f"no bundle named {name!r}; this repository has: {known}")
    path = repository / f"{name}{SUFFIX}"
    file = _parse(path)
    if file.name != name:
        raise BundleCorrupt(f"{path.name}: it holds a bundle named {file.name!r}")
    _verify(repository, path, file, file.files)
    return Bundle(repository, file)


def load_superseded(repository: Path, name: str, digest: str) -> Bundle:
    """Load the former bundle of that name that has that digest, and check its models.

    Raises:
        BundleMismatch: there is none, so what a job was accepted for is gone.
        BundleCorrupt: a byte changed, or its models are gone.
    """
    for path in repository.glob(f"{name}{SUPERSEDED}*{SUFFIX}"):
        file = _parse(path)
        if (file.name, file.digest) == (name, digest):
            models = {place: sha for place, sha in file.files.items() if place != file.card}
            _verify(repository, path, file, models)  # its card gave way to its successor's
            return Bundle(repository, file)
    raise BundleMismatch(
        f"the bundle {name} was replaced after the job was accepted",
        hint="Send the slide again to score it with the bundle that is there now.",
    )


def superseded_bundles(repository: Path) -> list[Bundle]:
    """All that were replaced and whose files stay; nobody has looked at their models."""
    paths = sorted(repository.glob(f"*{SUPERSEDED}*{SUFFIX}"))
    return [Bundle(repository, _parse(path)) for path in paths]


def write_bundle(repository: Path, content: dict[str, Any]) -> Bundle:
    """Seal `content` (a `BundleFile` without its digest), write it, and load it back.

    The models and the card must be in place already. A bundle of that name and another version
    stays beside it as `NAME@VERSION.bundle.json`, for the jobs that were accepted for it.
    """
    path = repository / f"{content['name']}{SUFFIX}"
    _put_aside(path, content["version"])
    write_sealed(path, content)
    return load_bundle(repository, content["name"])


def _put_aside(path: Path, version: str) -> None:
    """Keep the bundle at `path` if it is of another version."""
    try:
        former = _parse(path)
    except (OSError, BundleCorrupt):  # none yet, or none worth keeping
        return
    if former.version != version:
        name = f"{former.name}{SUPERSEDED}{former.version}{SUFFIX}"
        write_file(path.with_name(name), path.read_text())


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with its own digest, for `read_sealed`."""
    sealed = {**content, "digest": digest_of(content)}
    write_file(path, json.dumps(sealed, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_sealed(path: Path, parse: Callable[[dict[str, Any], str], Sealed]) -> Sealed:
    """What `parse` makes of a file's content and its digest, which was verified.

    Raises:
        BundleCorrupt: a byte changed, or it is none of ours.
    """
    try:
        content = json.loads(path.read_text())
        digest = content.pop("digest")
        if digest_of(content) != digest:
            raise BundleCorrupt(f"{path.name}: its content does not match its digest")
        return parse(content, digest)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BundleCorrupt(f"{path.name}: {error}") from error


def verify_files(root: Path, path: Path, files: Mapping[str, str], what: str) -> None:
    """Raises BundleCorrupt unless each of the files that `path` names is in `root`, unchanged."""
    for relative, expected in files.items():
        if PurePosixPath(relative).is_absolute() or ".." in PurePosixPath(relative).parts:
            raise BundleCorrupt(f"{path.name}: {relative!r} lies outside the repository")
        target = root / relative
        if not target.is_file():
            raise BundleCorrupt(f"{path.name}: {relative} is missing")
        found = digest_of_file(target)
        if found != expected:
            raise BundleCorrupt(f"{relative}: SHA-256 is {found}, the {what} says {expected}")


def _parse(path: Path) -> BundleFile:
    return read_sealed(
        path, lambda content, digest: BundleFile.model_validate({**content, "digest": digest})
    )


def _verify(root: Path, path: Path, file: BundleFile, files: Mapping[str, str]) -> None:
    verify_files(root, path, files, "bundle")
    missing = set(file.contract.named) - set(file.files.values())
    if missing or file.card not in file.files:
        raise BundleCorrupt(f"{path.name}: no file for {', '.join(sorted(missing)) or file.card}")
