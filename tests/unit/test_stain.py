"""Stain: pink and violet are H&E, brown, blue and darkness are not."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deepsmile.contract import HEStain
from deepsmile.errors import NotHE
from deepsmile.tissue import find_tissue, he_share
from tests.making import feature_contract, tissue_image
from tests.unit.test_tissue import STAINED_PINK, as_rgb, contract_with, flat, noisy, overview

Image = NDArray[np.uint8]
HE = HEStain.model_validate(feature_contract().model_dump()["stain"])
STAINED_VIOLET = (96, 62, 140)


def painted(colour: tuple[int, int, int], background: int = 244, side: int = 256) -> Image:
    """A disk of one stain's colour on glass, with a little noise, (side, side, 3)."""
    rng = np.random.default_rng(0)
    image = flat(background, side)
    cv2.circle(image, (side // 2, side // 2), side // 3, colour, cv2.FILLED)
    grain = rng.normal(0, 3, (side, side, 1))
    return np.clip(image + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [tissue_image(512, 512, tissue=0.8), painted(STAINED_PINK), painted(STAINED_VIOLET)],
    ids=["H&E", "eosin", "haematoxylin"],
)
def test_pink_and_violet_are_h_and_e(image: Image) -> None:
    """docs/decisions.md: hues of 240 to 360 degrees, 0.97 or more of the stained pixels."""
    tissue = find_tissue(overview(image), feature_contract())
    assert tissue.candidates.any()
    assert (he_share(overview(image), tissue.candidates, HE) or 0) > 0.97


@pytest.mark.parametrize(
    "colour",
    [(150, 105, 70), (120, 80, 50), (140, 165, 200), (120, 150, 190), (120, 180, 120)],
    ids=["DAB", "dark DAB", "blue counterstain", "darker blue", "green ink"],
)
def test_brown_and_blue_are_not(colour: tuple[int, int, int]) -> None:
    """IHC: DAB brown about 30 degrees, a blue counterstain about 215."""
    with pytest.raises(NotHE, match="hue of H&E"):
        find_tissue(overview(painted(colour)), feature_contract())


@pytest.mark.parametrize("colour", [(20, 20, 90), (10, 60, 10), (0, 0, 0)])
def test_a_dark_slide_is_not_brightfield(colour: tuple[int, int, int]) -> None:
    """Fluorescence: more than half of the overview is darker than grey 40."""
    with pytest.raises(NotHE, match="of the slide is dark: not brightfield"):
        find_tissue(overview(painted(colour, background=5)), feature_contract())


def test_half_a_dark_slide_is_still_brightfield() -> None:
    image = tissue_image(256, 256, tissue=0.9)
    image[:, :128] = 10
    find_tissue(overview(image), feature_contract(tissue={"rule": "none"}))
    image[:, 128] = 10
    with pytest.raises(NotHE, match="not brightfield"):
        find_tissue(overview(image), feature_contract(tissue={"rule": "none"}))


def test_a_model_of_any_stain_asks_nothing() -> None:
    brown, dark = painted((150, 105, 70)), painted((20, 20, 90), background=5)
    assert find_tissue(overview(brown), contract_with()).candidates.any()
    assert find_tissue(overview(dark), contract_with()).candidates.any()


DARK_GREEN_INK = (0, 55, 0)


def test_dark_ink_over_half_the_tissue_does_not_outvote_the_rest() -> None:
    """Hues of pixels as dark as grey 40 say nothing: ink and folds have any."""
    image = flat(STAINED_PINK, 128)
    for x in range(0, 128, 32):  # three fifths of all pixels, and of no tile more than that
        image[:, x : x + 19] = DARK_GREEN_INK
    ink = HE.model_copy(update={"max_dark": 0.6})
    contract = feature_contract(stain=ink.model_dump())
    tissue = find_tissue(overview(image), contract)
    assert tissue.candidates.all()
    assert he_share(overview(image), tissue.candidates, ink) == 1
    image[image[..., 0] == 0] = (0, 70, 0)
    with pytest.raises(NotHE, match="hue of H&E"):
        find_tissue(overview(image), contract)


def test_grey_tissue_has_no_hue_to_judge() -> None:
    """Fewer than 64 stained pixels say nothing: no answer is not a no."""
    image = as_rgb(noisy(150, 10, 0, 256))
    tissue = find_tissue(overview(image), feature_contract())
    assert he_share(overview(image), tissue.candidates, HE) is None
    image[0, :64] = (150, 105, 70)
    assert he_share(overview(image), tissue.candidates, HE) == 0


def test_only_candidate_tiles_are_asked_for_their_colour() -> None:
    """A green label beside the tissue is not the slide's stain."""
    image = np.concatenate([flat((120, 180, 120)), flat(STAINED_PINK)], axis=1)
    right = np.array([[False, False, True, True]] * 2)
    assert he_share(overview(image), right, HE) == 1
    assert he_share(overview(image), ~right, HE) == 0
    assert he_share(overview(image), np.ones_like(right), HE) == 0.5
