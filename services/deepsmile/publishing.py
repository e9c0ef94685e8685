"""Publishing: a bundle that exists becomes the one that is served under its name, or is again."""

from pathlib import Path

from deepsmile.bundle import (
    SUFFIX,
    Bundle,
    BundleFile,
    load_bundle,
    load_file,
    put_aside,
    read_file,
)
from deepsmile.digest import digest_of_file
from deepsmile.disk import copy_file, write_file
from deepsmile.errors import BundleCorrupt, RequestInvalid
from deepsmile.triton.config import write_configs


def publish(path: Path, repository: Path) -> Bundle:
    """Make the bundle of a file, of this or another repository, the current one of its name.

    Its models come first, then what a server is told of them, and its own file last: until then
    the former bundle is served, and for its jobs it stays.

    Raises:
        BundleError: it is not whole, or no server could serve it beside the others.
        RequestInvalid: another bundle or model is where it would be.
    """
    coming = load_file(path)
    root, file = coming.root, coming.file
    _check_free(repository, file)
    for place in file.models:
        copy_file(root / place, repository / place)
    put_aside(repository, file.name, file.version)
    if not root.samefile(repository):
        write_configs(repository, coming=Bundle(repository, file))
    write_file(repository / file.card, coming.card())
    copy_file(path, repository / f"{file.name}{SUFFIX}")
    return load_bundle(repository, file.name)


def _check_free(repository: Path, file: BundleFile) -> None:
    """A model or a version that somebody may be served by is never overwritten."""
    for place, sha256 in file.models.items():
        there = repository / place
        if there.exists() and digest_of_file(there) != sha256:
            raise RequestInvalid(
                f"{place} is there already, and is another file",
                hint="Give the model a version number of its own in the repository it comes from.",
            )
    for stem in (file.name, file.aside):
        try:
            there_already = read_file(repository / f"{stem}{SUFFIX}")
        except BundleCorrupt:  # none, or none that could be used
            continue
        if there_already.version == file.version and there_already.digest != file.digest:
            raise RequestInvalid(
                f"{file.name} {file.version} is there already, and is another bundle",
                hint="Give the new one a version of its own where it is made.",
            )
