"""Variant bundle: a parent's heads with another encoder, sealed with a card of its own."""

from pathlib import Path
from typing import Any

from deepsmile.bundle import Bundle, write_bundle
from deepsmile.contract import Contract
from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile.precision import Kind
from deepsmile_training.publishing import copy_file


def variant_name(parent: Bundle, kind: Kind) -> str:
    return f"{parent.name}-{kind}"


def encoder_place(parent: Bundle, kind: Kind) -> Path:
    """Where the variant's encoder lies in a repository: beside its parent's, as Triton wants."""
    model, *rest = parent.encoder_path.relative_to(parent.root).parts
    return Path(f"{model}_{kind}", *rest)


def head_places(parent: Bundle) -> list[Path]:
    """Where the heads lie in any repository, the parent's or another."""
    heads = parent.contract.heads
    return [parent.head_path(head).relative_to(parent.root) for head in heads]


def check_heads(parent: Bundle, out: Path) -> None:
    """Raises RequestInvalid if `out` has other files where the heads would lie."""
    for place in head_places(parent):
        there = out / place
        if there.exists() and digest_of_file(there) != digest_of_file(parent.root / place):
            hint = "Name another model repository with --out."
            raise RequestInvalid(f"{there} is another bundle's", hint=hint)


def put_heads(parent: Bundle, out: Path) -> None:
    """Copy the heads where they are not there yet."""
    for place in head_places(parent):
        if not (out / place).exists():
            copy_file(parent.root / place, out / place)


def seal_variant(
    out: Path, parent: Bundle, kind: Kind, card: str, provenance: dict[str, Any]
) -> Bundle:
    """Write the card, then the bundle of it and of the models that are in place."""
    name = variant_name(parent, kind)
    (out / f"{name}.card.md").write_text(card)
    encoder = encoder_place(parent, kind)
    files = [Path(f"{name}.card.md"), encoder, *head_places(parent)]
    contract = _contract(parent, kind, digest_of_file(out / encoder))
    return write_bundle(
        out,
        {
            "format": parent.file.format,
            "name": name,
            "version": parent.file.version,
            "notice": parent.file.notice,
            "contract": contract.model_dump(mode="json"),
            "files": {place.as_posix(): digest_of_file(out / place) for place in files},
            "card": f"{name}.card.md",
            "provenance": provenance,
        },
    )


def publish_variant(
    candidate: Bundle, parent: Bundle, kind: Kind, out: Path, card: str, provenance: dict[str, Any]
) -> Bundle:
    """Bring a candidate's models into the repository `out` and seal them there."""
    put_heads(parent, out)
    place = encoder_place(parent, kind)
    copy_file(candidate.root / place, out / place)
    return seal_variant(out, parent, kind, card, provenance)


def _contract(parent: Bundle, kind: Kind, sha256: str) -> Contract:
    features = parent.contract.features
    name = f"{features.encoder.name}-{kind}"
    encoder = features.encoder.model_copy(update={"name": name, "sha256": sha256})
    changed = features.model_copy(update={"encoder": encoder})
    return parent.contract.model_copy(update={"features": changed})
