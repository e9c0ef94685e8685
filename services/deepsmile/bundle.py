"""Bundle: a contract with the files it names, verified byte for byte before use.

On disk a bundle is `NAME.bundle.json` at the top of a model repository, beside the model
folders that Triton serves (`MODEL/VERSION/model.onnx`), which several bundles may share.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from deepsmile.contract import Contract, Head, Novelty
from deepsmile.digest import digest_of, digest_of_file
from deepsmile.disk import copy_file, write_file
from deepsmile.errors import BundleCorrupt, BundleMismatch, BundleUnknown
from deepsmile.frozen import Name, Sha256

Sealed = TypeVar("Sealed")

SUFFIX, CARD = ".bundle.json", ".card.md"
SUPERSEDED = "@"
"""Between name and version of a bundle that was put aside; no name has one."""
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

    @property
    def models(self) -> dict[str, Sha256]:
        """All of `files` but the card."""
        return {place: sha256 for place, sha256 in self.files.items() if place != self.card}

    @property
    def aside(self) -> str:
        """How the names of its files begin once it is put aside."""
        return f"{self.name}{SUPERSEDED}{self.version}"


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
        """The model card, Markdown; it is aside once a successor's took its place.

        Raises:
            BundleCorrupt: neither is the one that was sealed.
        """
        sha256 = self.file.files[self.file.card]
        try:
            return read_verified(self.root / self.file.card, sha256).decode()
        except BundleCorrupt:
            with suppress(BundleCorrupt):
                return read_verified(self.root / f"{self.file.aside}{CARD}", sha256).decode()
            raise

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
    bundle = load_file(path)
    if bundle.name != name:
        raise BundleCorrupt(f"{path.name}: it holds a bundle named {bundle.name!r}")
    return bundle


def load_file(path: Path) -> Bundle:
    """Load the bundle of a file in a model repository, put aside or not, and check every digest.

    Raises:
        BundleCorrupt: as `load_bundle`.
    """
    bundle = Bundle(path.parent, read_file(path))
    verify_files(bundle.root, path, bundle.file.models, "bundle")
    bundle.card()
    return bundle


def load_superseded(repository: Path, name: str, digest: str) -> Bundle:
    """Load the former bundle of that name that has that digest, and check its models.

    Raises:
        BundleMismatch: there is none, so what a job was accepted for is gone.
        BundleCorrupt: a byte changed, or its models are gone.
    """
    damage: BundleCorrupt | None = None
    for path in _put_aside(repository):
        if not path.name.startswith(f"{name}{SUPERSEDED}"):
            continue
        try:
            file = read_file(path)
        except BundleCorrupt as error:  # it may be another version
            damage = error
            continue
        if (file.name, file.digest) == (name, digest):
            verify_files(repository, path, file.models, "bundle")  # no score needs a card
            return Bundle(repository, file)
    raise damage or BundleMismatch(
        f"the bundle {name} was replaced after the job was accepted",
        hint="Send the slide again to score it with the bundle that is there now.",
    )


def superseded_bundles(repository: Path) -> list[Bundle]:
    """All that were replaced and whose files stay; nobody has looked at their models."""
    return [Bundle(repository, read_file(path)) for path in _put_aside(repository)]


def _put_aside(repository: Path) -> list[Path]:
    return sorted(repository.glob(f"*{SUPERSEDED}*{SUFFIX}"))


def write_bundle(repository: Path, content: dict[str, Any]) -> Bundle:
    """Seal `content` (a `BundleFile` without its digest), write it, and load it back.

    The models and the card must be in place already, and `put_aside` comes before its card.
    """
    put_aside(repository, content["name"], content["version"])
    write_sealed(repository / f"{content['name']}{SUFFIX}", content)
    return load_bundle(repository, content["name"])


def put_aside(repository: Path, name: str, version: str) -> None:
    """Keep a bundle, and its card, beside the one of another version that takes its place.

    As `NAME@VERSION.bundle.json`, for the jobs that were accepted for it, and as a way back.
    """
    path = repository / f"{name}{SUFFIX}"
    try:
        former = read_file(path)
    except BundleCorrupt:  # none yet, or none worth keeping
        return
    if former.version == version:
        return
    with suppress(BundleCorrupt):  # a score needs no card
        write_file(repository / f"{former.aside}{CARD}", Bundle(repository, former).card())
    copy_file(path, repository / f"{former.aside}{SUFFIX}")


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with its own digest, for `read_sealed`."""
    sealed = {**content, "digest": digest_of(content)}
    write_file(path, json.dumps(sealed, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_sealed(path: Path, parse: Callable[[dict[str, Any], str], Sealed]) -> Sealed:
    """What `parse` makes of a file's content and its digest, which was verified.

    Raises:
        BundleCorrupt: a byte changed, it is none of ours, or it cannot be read.
    """
    try:
        content = json.loads(path.read_text())
        digest = content.pop("digest")
        if digest_of(content) != digest:
            raise BundleCorrupt(f"{path.name}: its content does not match its digest")
        return parse(content, digest)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BundleCorrupt(f"{path.name}: {error}") from error


def verify_files(root: Path, path: Path, files: Mapping[str, str], what: str) -> None:
    """Raises BundleCorrupt unless each of the files that `path` names is in `root`, unchanged."""
    _check_inside(path, files)
    for relative, expected in files.items():
        target = root / relative
        if not target.is_file():
            raise BundleCorrupt(f"{path.name}: {relative} is missing")
        found = digest_of_file(target)
        if found != expected:
            raise BundleCorrupt(f"{relative}: SHA-256 is {found}, the {what} says {expected}")


def _check_inside(path: Path, places: Iterable[str]) -> None:
    for place in map(PurePosixPath, places):
        if place.is_absolute() or ".." in place.parts:
            raise BundleCorrupt(f"{path.name}: {str(place)!r} lies outside the repository")


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file, checked as they are read: it may have changed since it was verified.

    Raises:
        BundleCorrupt: they are others, or cannot be read.
    """
    place = "/".join(path.parts[-3:])  # as models lie in a repository
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise BundleCorrupt(f"{place} is missing") from error
    except OSError as error:
        raise BundleCorrupt(f"{place}: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BundleCorrupt(f"{place}: SHA-256 is {found}, the bundle says {sha256}")
    return content


def read_file(path: Path) -> BundleFile:
    """A bundle's file, its own digest verified, but nothing that it names.

    Raises:
        BundleCorrupt: a byte changed, or it names no file for something that a bundle needs.
    """
    file = read_sealed(
        path, lambda content, digest: BundleFile.model_validate({**content, "digest": digest})
    )
    _check_inside(path, file.files)
    missing = set(file.contract.named) - set(file.files.values())
    if missing or file.card not in file.files:
        raise BundleCorrupt(f"{path.name}: no file for {', '.join(sorted(missing)) or file.card}")
    return file
