"""Extraction: slides to feature bags, by the very function that serves them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from deepsmile.backends import TileEncoder
from deepsmile.bag import FeatureBag, load_bag, save_bag
from deepsmile.contract import FeatureContract
from deepsmile.digest import digest_of_slide
from deepsmile.errors import BundleMismatch, RequestInvalid
from deepsmile.pipeline import SlideSource, extract
from deepsmile.reading import Reader


def extract_bags(
    slides: Sequence[Path],
    contract: FeatureContract,
    encoder: TileEncoder,
    reader: Reader,
    *,
    folder: Path,
    advance: Callable[[], None],
) -> list[FeatureBag]:
    """Bags of all slides, in their order; those already under `folder` are read back.

    `folder` gets one sub-folder per contract, so that no bag of another is ever taken.
    """
    place = folder / contract.digest[:16]
    place.mkdir(parents=True, exist_ok=True)
    bags = []
    for slide in slides:
        bags.append(kept_bag(slide, place / f"{slide.stem}.npz", contract, encoder, reader))
        advance()
    return bags


def kept_bag(
    slide: Path, saved: Path, contract: FeatureContract, encoder: TileEncoder, reader: Reader
) -> FeatureBag:
    """The bag of `saved` if it is this slide's; or else made, and saved if there is any tissue.

    To see whose it is the slide is hashed, which takes a small part of the time of its extraction;
    a slide that is gone cannot be another one.

    Raises:
        BagCorrupt, RequestInvalid: `saved` is damaged, or of another contract.
        SlideError, Abstention: the slide has no bag.
    """
    sha256 = None
    if saved.exists():
        kept = own_bag(saved, contract.digest)
        sha256 = digest_of_slide(slide) if slide.exists() else kept.slide_sha256
        if kept.slide_sha256 == sha256:
            return kept
    bag = extract(SlideSource(slide, sha256), contract, encoder, reader).need_bag()
    if len(bag.features):
        save_bag(bag, saved)
    return bag


def own_bag(saved: Path, features_digest: str) -> FeatureBag:
    """A bag that was made before.

    Raises:
        BagCorrupt: it is damaged.
        RequestInvalid: it was made by another encoder, or of other tiles.
    """
    try:
        return load_bag(saved, features_digest)
    except BundleMismatch as error:
        raise RequestInvalid(
            f"{saved.parent} holds features by another encoder, or of other tiles",
            hint=f"Choose another name with --extractor, or remove {saved.parent}.",
        ) from error
