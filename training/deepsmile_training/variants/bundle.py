"""Variant bundle: a parent's heads with another encoder, sealed with a card of its own."""

from pathlib import Path

from deepsmile.bundle import Bundle
from deepsmile.contract import Contract
from deepsmile.digest import digest_of_file
from deepsmile.disk import copy_file
from deepsmile.errors import RequestInvalid
from deepsmile.precision import Kind
from deepsmile_training.publishing import Title, seal


def encoder_place(parent: Bundle, kind: Kind) -> Path:
    """Where the variant's encoder lies in a repository: beside its parent's, as Triton wants."""
    model, *rest = parent.encoder_path.relative_to(parent.root).parts
    return Path(f"{model}_{kind}", *rest)


def head_places(parent: Bundle) -> list[Path]:
    """Where the heads' files lie in any repository, the parent's or another."""
    heads = parent.contract.heads
    novelties = {parent.novelty_path(head.novelty) for head in heads if head.novelty}
    paths = [*(parent.head_path(head) for head in heads), *sorted(novelties)]
    return [path.relative_to(parent.root) for path in paths]


def check_heads(parent: Bundle, out: Path) -> None:
    """Raises RequestInvalid if `out` has other files where the heads would lie."""
    for place in head_places(parent):
        there = out / place
        if there.exists() and digest_of_file(there) != digest_of_file(parent.root / place):
            hint = "Name another model repository with --out."
            raise RequestInvalid(f"{there} is another bundle's", hint=hint)


def put_heads(parent: Bundle, root: Path) -> None:
    """Copy the heads into a repository."""
    for place in head_places(parent):
        copy_file(parent.root / place, root / place)


def seal_variant(root: Path, parent: Bundle, kind: Kind) -> Bundle:
    """The variant as a bundle that can be run and says nothing of itself; its models are there."""
    encoder = encoder_place(parent, kind)
    title = Title(f"{parent.name}-{kind}", parent.file.version, parent.file.notice)
    contract = _contract(parent, kind, digest_of_file(root / encoder))
    models = [encoder, *head_places(parent)]
    return seal(root, title, contract, models, card="Not yet measured.\n", provenance={})


def _contract(parent: Bundle, kind: Kind, sha256: str) -> Contract:
    features = parent.contract.features
    name = f"{features.encoder.name}-{kind}"
    encoder = features.encoder.model_copy(update={"name": name, "sha256": sha256})
    changed = features.model_copy(update={"encoder": encoder})
    return parent.contract.model_copy(update={"features": changed})
