"""The encoder's pretext task: crops and their truth belong together."""

import numpy as np
import pytest
import torch

from deepsmile.reading import Reader
from deepsmile.tiles import TileBatch
from deepsmile_training.contracts import feature_contract
from deepsmile_training.demo.pretext import (
    BACKBONE,
    PARTS,
    UNTRAINED,
    PretextRecipe,
    PretextTiles,
    _samples,
    augmented,
    disagreement,
    read_pretext_tiles,
    restained,
    spoiled,
    train_encoder,
)
from deepsmile_training.encoders.tile_encoder import make_encoder
from deepsmile_training.synthetic.anatomy import draw_anatomy
from deepsmile_training.synthetic.nuclei import draw_nuclei
from tests.training.conftest import PaintedSlide

pytestmark = pytest.mark.slow


def test_truth_is_that_of_the_crop(painted: dict[str, PaintedSlide], reader: Reader) -> None:
    """Nuclei of each quarter of each tile, counted one by one."""
    slide = painted["generic"]
    tiles = read_pretext_tiles([slide.path], [slide.spec], reader)
    batches = reader.read(slide.path, feature_contract(UNTRAINED))
    cells = [cell for b in batches if isinstance(b, TileBatch) for cell in b.cells.tolist()]
    nuclei = draw_nuclei(slide.spec, draw_anatomy(slide.spec))
    edge = 256 / PARTS
    for k, (column, row) in enumerate(cells):
        for down in range(PARTS):
            for across in range(PARTS):
                left, top = (column * PARTS + across) * edge, (row * PARTS + down) * edge
                inside = (nuclei.x >= left) & (nuclei.x < left + edge)
                inside &= (nuclei.y >= top) & (nuclei.y < top + edge)
                assert tiles.count[k, down, across] == inside.sum()
                if inside.any():
                    expected = nuclei.diameter_um[inside].mean()
                    assert tiles.mean_um[k, down, across].item() == pytest.approx(expected)


def test_darker_crops_hold_more_nuclei(painted: dict[str, PaintedSlide], reader: Reader) -> None:
    """Crops and truth are in the same order: nuclei make pixels dark."""
    tiles = read_pretext_tiles([painted["generic"].path], [painted["generic"].spec], reader)
    crops, target = _samples(tiles)
    dark = (crops.float().mean(dim=3) < 150).float().mean(dim=(1, 2))  # (n,)
    chromatin = target[:, 1] + target[:, 0]  # (n,) number and size
    assert np.corrcoef(dark.numpy(), chromatin.numpy())[0, 1] > 0.6


def tiny_tiles() -> PretextTiles:
    """Two tiles whose crops are constant and numbered."""
    pixels = torch.zeros(2, 224, 224, 3, dtype=torch.uint8)
    for k in range(8):
        tile, down, across = k // 4, k // 2 % 2, k % 2
        pixels[tile, 112 * down : 112 * down + 112, 112 * across : 112 * across + 112] = 10 * k
    count = torch.arange(8.0).view(2, 2, 2) + 1
    return PretextTiles(pixels, count, count + 5)


def test_crops_are_cut_in_the_order_of_their_truth() -> None:
    crops, target = _samples(tiny_tiles())
    values = crops.float().mean(dim=(1, 2, 3))  # (6,)
    assert values.tolist() == [20, 30, 40, 50, 60, 70]  # those with fewer than 3 nuclei are out
    assert target.shape == (6, 2)
    assert torch.all(target.diff(dim=0) > 0)
    torch.testing.assert_close(target.mean(dim=0), torch.zeros(2), atol=1e-6, rtol=0)


def test_restaining_leaves_glass_alone() -> None:
    """Beer and Lambert: no stain, however strengthened, is no stain."""
    torch.manual_seed(0)
    assert torch.allclose(restained(torch.ones(4, 3, 8, 8)), torch.ones(4, 3, 8, 8), atol=2e-3)
    strengths = restained(torch.full((64, 3, 8, 8), 0.5)).flatten(1).mean(dim=1)  # (64,)
    assert strengths.std() > 0.02


def test_spoiling_blurs_and_adds_noise_by_other_amounts() -> None:
    """Grey stays grey but for the noise; the edge of a step is softened and its place kept."""
    torch.manual_seed(0)
    noise = (spoiled(torch.full((64, 3, 32, 32), 0.5)) - 0.5).flatten(1)  # (64, n)
    assert noise.mean().abs() < 1e-3
    assert noise.std(dim=1).min() < 0.003
    assert 0.02 < noise.std(dim=1).max() < 0.035
    step = torch.zeros(64, 3, 32, 32)
    step[..., 16:] = 1
    softened = spoiled(step).mean(dim=(0, 1, 2))  # (32,)
    assert torch.all(softened[14:18].diff() > 0)
    assert softened[15] > 0.05
    assert softened[15] + softened[16] == pytest.approx(1, abs=0.01)


def test_views_differ_and_stay_pictures() -> None:
    crops = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8)
    one, other = augmented(crops), augmented(crops)
    assert one.shape == (8, 3, 16, 16)
    assert not torch.equal(one, other)
    assert 0 <= one.min() < one.max() <= 1


def test_disagreement_is_one_less_the_correlation_of_the_views() -> None:
    torch.manual_seed(0)
    one, noise = torch.randn(2, 4000, 8)  # (B, D) each
    assert disagreement(torch.cat([one, one])) == 0
    assert float(disagreement(torch.cat([one, noise]))) == pytest.approx(1, abs=0.05)
    half = one * 0.6 + noise * 0.8  # correlation 0.6
    assert float(disagreement(torch.cat([one, half]))) == pytest.approx(0.4, abs=0.05)
    assert float(disagreement(torch.ones(6, 2))) == 0


@pytest.mark.slow
def test_training_is_seeded_and_moves_the_weights(painted: dict[str, PaintedSlide], reader) -> None:
    tiles = read_pretext_tiles([painted["generic"].path], [painted["generic"].spec], reader)
    recipe = PretextRecipe(epochs=1, batch=16)
    told: list[int] = []
    one = train_encoder(tiles, recipe, 4, lambda: told.append(1))
    other = train_encoder(tiles, recipe, 4)
    assert told == [1]
    first, second = one.backbone.conv5[0].weight, other.backbone.conv5[0].weight
    assert torch.equal(first, second)
    assert (first - make_encoder(BACKBONE, 4).backbone.conv5[0].weight).abs().max() > 1e-3
    assert not one.training
