"""Encoders side by side: what may be asked, and who is compared with whom."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.checkpoint import save_checkpoint
from deepsmile_training.encoders.comparison import (
    Sample,
    compare,
    questions,
    report,
    shown_at,
    table,
)
from deepsmile_training.encoders.embedding import embed, torch_encode
from deepsmile_training.encoders.probe import knn_accuracy
from deepsmile_training.encoders.sources import settled_encoder, title_of
from deepsmile_training.encoders.tile_encoder import make_encoder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiles() -> Sample:
    """24 tiles of 6 slides of 4 cases; slides differ in colour, organs in texture."""
    rng = np.random.default_rng(0)
    slides = np.repeat(np.array([f"s{i}" for i in range(6)]), 4)
    cases = np.repeat(np.array(["a", "a", "b", "c", "c", "d"]), 4)
    organs = np.repeat(np.array(["colon", "colon", "colon", "lung", "lung", "skin"]), 4)
    pixels = rng.integers(0, 60, (24, 224, 224, 3), np.uint8)
    pixels += np.repeat(rng.integers(0, 150, (6, 1, 1, 3), np.uint8), 4, axis=0)
    pixels[organs == "colon", ::8] //= 4
    return Sample(pixels, slides, cases, {"organ": organs, "licence": np.full(24, "MIT")})


def test_only_what_two_cases_have_is_asked(tiles: Sample) -> None:
    slide, organ = questions(tiles, [])
    assert slide.groups is None
    assert slide.askable.all()
    assert organ.askable.tolist() == [True] * 12 + [False] * 12
    assert organ.groups is not None
    assert organ.groups.tolist() == tiles.cases.tolist()


@pytest.mark.parametrize(
    ("label", "said"),
    [("grade", "no label 'grade'; it has slide, organ, licence"), ("licence", "has only one")],
)
def test_a_label_that_tells_nothing_is_refused(tiles: Sample, label: str, said: str) -> None:
    with pytest.raises(RequestInvalid, match=said):
        questions(tiles, [label])


def test_encoders_are_compared_with_the_first(tiles: Sample, tmp_path: Path) -> None:
    """Figures of one row recomputed; the first gains nothing over itself."""
    source = "random:shufflenet_v2_x0_5"
    save_checkpoint(make_encoder("shufflenet_v2_x0_5", 9), tmp_path / "encoder.pt")
    heard: list[str] = []

    def stage(what: str, total: int) -> object:
        heard.append(f"{what}: {total}")
        return lambda: None

    found = compare(
        [source, str(tmp_path / "encoder.pt")],
        tiles,
        questions(tiles, ["organ"]),
        seeds=2,
        stage=stage,
    )
    run = f"{tmp_path.name}/encoder.pt"
    assert heard == [f"{source} seed 0: 2", f"{source} seed 1: 2", f"{run}: 2"]
    assert (found[0].gain.value, found[0].gain.low, found[0].gain.high) == (0, 0, 0)
    features = embed(torch_encode(settled_encoder(source, tiles.tiles, 1)[0]), tiles.tiles)
    share = knn_accuracy(features, tiles.labels["organ"], tiles.cases) * 24 / 12
    assert found[1].neighbours.value == pytest.approx(share)
    assert found[1].gain.value == pytest.approx(
        found[1].neighbours.value - found[0].neighbours.value
    )
    assert (found[0].values, found[0].tiles, found[0].cases) == (("colon",), 12, 2)
    assert f"| {source} seed 0 | organ: colon; 12 tiles, 2 cases | " in table(found)


def test_tiles_are_shown_smaller_by_the_mean_of_their_pixels(tiles: Sample) -> None:
    """4 x 4 px become one; the figures say at which size."""
    small = shown_at(tiles, 56)
    blocks = tiles.tiles.reshape(24, 56, 4, 56, 4, 3).astype(float)  # (n, 56, 4, 56, 4, 3)
    assert np.abs(small.tiles - blocks.mean(axis=(2, 4))).max() <= 0.5
    assert small.cases.tolist() == tiles.cases.tolist()
    told = report([], "digest", small)
    assert (told["tiles"], told["size_px"]) == (24, 56)


def test_tiles_are_shown_no_larger_than_they_are(tiles: Sample) -> None:
    with pytest.raises(RequestInvalid, match="size: 225 px, and the store's tiles have 224"):
        shown_at(tiles, 225)


def test_an_exported_encoder_is_shown_tiles_as_they_are(tiles: Sample, tmp_path: Path) -> None:
    """Its graph takes no others."""
    model = tmp_path / "model.onnx"
    with pytest.raises(RequestInvalid, match="takes tiles of 224 px, not 56"):
        compare(
            [str(model)],
            shown_at(tiles, 56),
            questions(tiles, ["organ"]),
            seeds=1,
            stage=lambda _what, _total: lambda: None,
        )


def test_titles_hold_no_paths(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    assert title_of(str(path)) == f"{tmp_path.name}/model.onnx"
    deployed = tmp_path / "mine_encoder" / "1" / "model.onnx"
    deployed.parent.mkdir(parents=True)
    deployed.touch()
    assert title_of(str(deployed)) == "mine_encoder"
    assert title_of(f"imagenet:{path}") == f"imagenet:{tmp_path.name}/model.onnx"
    assert title_of(f"timm:test_vit={path}") == "timm:test_vit"
    assert title_of("random:timm:test_vit") == "random:timm:test_vit"


@pytest.mark.parametrize("missing", ["nowhere/encoder.pt", "nowhere/model.onnx", "random:nothing"])
def test_a_missing_encoder_is_told_before_the_first_is_asked(tiles: Sample, missing: str) -> None:
    begun: list[str] = []

    def stage(what: str, total: int) -> Callable[[], None]:
        begun.append(what)
        return lambda: None

    with pytest.raises(RequestInvalid, match=r"nothing|nowhere"):
        compare(["random:shufflenet_v2_x0_5", missing], tiles, [], seeds=1, stage=stage)
    assert not begun
