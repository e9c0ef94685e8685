"""Publishing: models, card and contract as a sealed bundle in a model repository."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsmile.bundle import Bundle, put_aside, write_bundle
from deepsmile.contract import Contract
from deepsmile.digest import digest_of_file
from deepsmile.disk import copy_file, write_file
from deepsmile.triton.config import write_configs


@dataclass(frozen=True)
class Title:
    """What a bundle is called, and what is said beside its every score."""

    name: str
    version: str
    notice: str


def seal(
    repository: Path,
    title: Title,
    contract: Contract,
    models: Sequence[Path],
    *,
    card: str,
    provenance: dict[str, Any],
) -> Bundle:
    """Write the card, then the bundle of it and of `models`, which are in the repository already.

    Models are given by their paths from the repository's root.
    """
    put_aside(repository, title.name, title.version)
    card_place = Path(f"{title.name}.card.md")
    write_file(repository / card_place, card)
    places = (card_place, *models)
    return write_bundle(
        repository,
        {
            "format": "deepsmile-bundle/1",
            "name": title.name,
            "version": title.version,
            "notice": title.notice,
            "contract": contract.model_dump(mode="json"),
            "files": {place.as_posix(): digest_of_file(repository / place) for place in places},
            "card": card_place.as_posix(),
            "provenance": provenance,
        },
    )


def publish(candidate: Bundle, out: Path, card: str, provenance: dict[str, Any]) -> Bundle:
    """Copy a candidate's models to the repository `out` and seal them there, now with a card.

    A server that serves `out` is told of them.
    """
    file = candidate.file
    models = [Path(place) for place in file.models]
    for place in models:
        copy_file(candidate.root / place, out / place)
    title = Title(file.name, file.version, file.notice)
    bundle = seal(out, title, candidate.contract, models, card=card, provenance=provenance)
    write_configs(out)
    return bundle
