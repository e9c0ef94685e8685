"""Extraction: slides to feature bags, by the very function that serves them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from deepsmile.backends import TileEncoder
from deepsmile.bag import FeatureBag, load_bag, save_bag
from deepsmile.contract import FeatureContract
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
        bags.append(_bag(slide, contract, encoder, reader, place / f"{slide.stem}.npz"))
        advance()
    return bags


def _bag(
    slide: Path, contract: FeatureContract, encoder: TileEncoder, reader: Reader, saved: Path
) -> FeatureBag:
    if saved.exists():
        return load_bag(saved, contract.digest)
    bag = extract(SlideSource(slide), contract, encoder, reader).need_bag()
    save_bag(bag, saved)
    return bag
