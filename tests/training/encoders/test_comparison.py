"""Encoders side by side: what may be asked, and who is compared with whom."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.checkpoint import load_checkpoint, save_checkpoint
from deepsmile_training.encoders.comparison import (
    Sample,
    compare,
    left_out,
    questions,
    report,
    sample,
    shown_at,
)
from deepsmile_training.encoders.embedding import embed, torch_encode
from deepsmile_training.encoders.probe import K, knn_correct
from deepsmile_training.encoders.probe_report import table
from deepsmile_training.encoders.sources import settled_encoder, title_of
from deepsmile_training.encoders.tile_encoder import make_encoder
from deepsmile_training.encoders.weights import digest_of_weights
from deepsmile_training.tilesets.recipe import ImageRules, TileRecipe
from deepsmile_training.tilesets.store import StoredSlide, StoreFile, TileStore

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


class Numbered(TileStore):
    """A store of tiles of one pixel, which says the tile's number."""

    def read(self, numbers: Sequence[int] | np.ndarray) -> RGB:
        low, high = np.asarray(numbers) % 256, np.asarray(numbers) // 256
        return np.stack([low, high, 0 * low], axis=1).astype(np.uint8)[:, None, None]


def store_of(*slides: tuple[str, int]) -> TileStore:
    """Of slides by their cases and numbers of tiles."""
    stored = [
        StoredSlide(
            name=f"s{i:04}", case=case, labels={}, sha256="", tiles=n, shard="", tiles_sha256=""
        )
        for i, (case, n) in enumerate(slides)
    ]
    recipe = TileRecipe(encoding="files", rules=ImageRules())
    return Numbered(Path(), StoreFile(complete=True, recipe=recipe, slides=tuple(stored)))


def numbers_of(tiles: Sample) -> list[int]:
    pixels = tiles.tiles[:, 0, 0].astype(int)  # (n, 3)
    return (pixels[:, 0] + 256 * pixels[:, 1]).tolist()


def counts(names: np.ndarray) -> dict[str, int]:
    found, numbers = np.unique(names, return_counts=True)
    return dict(zip(found.tolist(), numbers.tolist(), strict=True))


def test_a_store_that_fits_is_sampled_whole() -> None:
    """Tiny slides and all."""
    store = store_of(("a", 3), ("a", 40), ("b", 1))
    assert numbers_of(sample(store, 44)) == list(range(44))


@pytest.mark.parametrize("budget", [1000, 2500])
def test_a_sample_of_the_papers_slides_can_be_asked_for_its_slides(budget: int) -> None:
    """1,041 slides (section 3.1.1): features that are the slide, told by 20 neighbours."""
    tiles = sample(store_of(*((f"c{i}", 300) for i in range(1041))), budget)
    assert min(counts(tiles.slides).values()) == K + 1
    assert len(set(tiles.slides)) == budget // (K + 1)
    places = np.unique([int(name[1:]) for name in tiles.slides])
    assert set(np.diff(places, append=1041 + places[0]).tolist()) <= set(
        range(1, 1041 // len(places) + 2)
    )
    (slide,) = questions(tiles, ())
    centres = np.random.default_rng(0).normal(size=(1041, 64)).astype(np.float32)
    features = centres[[int(name[1:]) for name in tiles.slides]]  # (n, D)
    assert slide.askable.all()
    assert knn_correct(features, slide.answers, slide.groups, K).all()


def test_every_case_is_sampled_before_a_second_slide_of_one() -> None:
    store = store_of(*(("many", 50) for _ in range(100)), *((f"c{i}", 50) for i in range(5)))
    tiles = sample(store, 10 * (K + 1))
    slides_of = {case: len(set(tiles.slides[tiles.cases == case])) for case in set(tiles.cases)}
    assert slides_of == {"many": 5, **{f"c{i}": 1 for i in range(5)}}


def test_a_sample_leaves_out_slides_of_too_few_tiles_unless_there_are_no_others() -> None:
    assert counts(sample(store_of(("a", 30), ("b", K), ("c", 40)), 60).slides) == {
        "s0000": 30,
        "s0002": 30,
    }
    few = sample(store_of(*((f"c{i}", 5) for i in range(100))), 63)
    assert counts(few.slides) == {"s0000": 5, "s0049": 5, "s0099": 5}


def test_what_small_slides_leave_large_ones_get_evenly_spaced() -> None:
    tiles = sample(store_of(("a", 30), ("b", 500), ("c", 500)), 331)
    assert counts(tiles.slides) == {"s0000": 30, "s0001": 150, "s0002": 150}
    assert numbers_of(tiles)[30:180] == (30 + np.linspace(0, 499, 150).astype(int)).tolist()


@pytest.mark.parametrize("slides", [[("a", 9), ("b", 9)], [("a", 2)]])
def test_nothing_to_ask_is_told(slides: list[tuple[str, int]]) -> None:
    """Two tiles of two slides, or one slide: an empty table would look like an answer."""
    tiles = sample(store_of(*slides), 3)
    asked = questions(tiles, ())
    assert asked == []
    with pytest.raises(RequestInvalid, match="no label can be asked") as told:
        compare(["random:resnet18"], tiles, asked, seeds=1, stage=lambda _what, _total: print)
    assert "--tiles" in told.value.hint


def test_labels_of_few_kinds_are_asked_unnamed_and_measures_are_not() -> None:
    """Each value is of two cases, so any label can be asked by its name."""
    cases = np.array([f"c{i}" for i in range(24)])
    labels = {
        "class": np.array(["MSS", "MSIMUT"] * 12),
        "mpp": np.array(["0.25", "0.5", "1e-1"] * 8),
        "site": np.array([f"site{i}" for i in range(12)] * 2),
        "status": np.array(["0", "1"] * 12),
    }
    tiles = Sample(np.zeros((24, 1, 1, 3), np.uint8), np.repeat(["x", "y"], 12), cases, labels)
    assert [question.label for question in questions(tiles, ())] == ["slide", "class", "status"]
    assert [question.label for question in questions(tiles, ["mpp", "site"])] == ["mpp", "site"]


def test_only_what_two_cases_have_is_asked(tiles: Sample) -> None:
    slide, organ = questions(tiles, [])
    assert slide.groups is None
    assert slide.askable.all()
    assert organ.askable.tolist() == [True] * 12 + [False] * 12
    assert organ.groups is not None
    assert organ.groups.tolist() == tiles.cases.tolist()


def test_a_slide_without_a_value_is_left_out_of_that_question_alone() -> None:
    """One blank cell of a manifest: the label is asked of all other slides."""
    whole = store_of(*((case, 4) for case in "abcde"))
    organs = ("colon", "colon", "", "lung", "lung")
    slides = tuple(
        slide.model_copy(update={"labels": {"organ": organ} if organ else {}})
        for slide, organ in zip(whole.slides, organs, strict=True)
    )
    file = whole.file.model_copy(update={"slides": slides})
    tiles = sample(Numbered(Path(), file), 100)
    slide, organ = asked = questions(tiles, ())
    assert slide.rows.tolist() == list(range(20))
    assert organ.rows.tolist() == [*range(8), *range(12, 20)]
    assert organ.answers.tolist() == ["colon"] * 8 + ["lung"] * 8
    assert organ.askable.all()
    assert organ.groups is not None
    assert organ.groups.tolist() == [case for case in "abde" for _ in range(4)]
    assert [question.label for question in questions(tiles, ["organ"])] == ["organ"]
    assert list(left_out(tiles, asked)) == [
        "organ: not known of 4 tiles of 1 slides, which are left out"
    ]


def test_a_tile_without_a_value_has_no_vote(tiles: Sample) -> None:
    """Each is the very copy of one that has a value, so it would be the nearest neighbour."""
    twice = Sample(
        np.concatenate([tiles.tiles, tiles.tiles]),
        np.concatenate([tiles.slides, np.char.add(tiles.slides, "'")]),
        np.concatenate([tiles.cases, np.char.add(tiles.cases, "'")]),
        {"organ": np.concatenate([tiles.labels["organ"], np.full(24, "")])},
    )
    source = ["random:shufflenet_v2_x0_5"]
    save = partial(compare, source, seeds=1, stage=lambda _what, _total: lambda: None)
    (found,) = save(twice, questions(twice, ["organ"]))
    features = embed(torch_encode(settled_encoder(source[0], twice.tiles)[0]), tiles.tiles)
    known = knn_correct(features, tiles.labels["organ"], tiles.cases, K)[:12]
    assert (found.tiles, found.cases, found.values) == (12, 2, ("colon",))
    assert found.neighbours.value == pytest.approx(known.mean())
    assert found.gain.value == 0


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
    share = knn_correct(features, tiles.labels["organ"], tiles.cases, K).mean() * 24 / 12
    assert found[1].neighbours.value == pytest.approx(share)
    assert found[1].gain.value == pytest.approx(
        found[1].neighbours.value - found[0].neighbours.value
    )
    first, second, trained = (one.sha256 for one in found)
    assert first == digest_of_weights(settled_encoder(source, tiles.tiles, 0)[0]) != second
    assert trained == digest_of_weights(load_checkpoint(tmp_path / "encoder.pt"))
    assert (found[0].values, found[0].tiles, found[0].cases) == (("colon",), 12, 2)
    assert f"| {source} seed 0 | organ: colon; 12 tiles, 2 cases | " in table(found)


def test_tiles_are_shown_smaller_by_the_mean_of_their_pixels(tiles: Sample) -> None:
    """4 x 4 px become one; the figures say at which size."""
    small = shown_at(tiles, 56)
    blocks = tiles.tiles.reshape(24, 56, 4, 56, 4, 3).astype(float)  # (n, 56, 4, 56, 4, 3)
    assert np.abs(small.tiles - blocks.mean(axis=(2, 4))).max() <= 0.5
    assert small.cases.tolist() == tiles.cases.tolist()
    told = report([], "0" * 64, small)
    assert (told.tiles, told.size_px) == (24, 56)


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


def test_titles_of_paths_that_hold_an_equals_sign_tell_them_apart(tmp_path: Path) -> None:
    """A file that exists is a file, and only a backbone with its file is cut in two."""
    for rate in ("lr=0.1", "lr=0.01"):
        path = tmp_path / rate / "encoder.pt"
        path.parent.mkdir()
        path.touch()
        assert title_of(str(path)) == f"{rate}/encoder.pt"
        assert title_of(f"imagenet:{path}") == f"imagenet:{rate}/encoder.pt"
        assert title_of(f"timm:test_vit={path}") == "timm:test_vit"
        assert title_of(f"deepsmile:resnet18={path}") == "deepsmile:resnet18"
        whole = tmp_path / f"timm:{rate}" / "encoder.pt"
        whole.parent.mkdir()
        whole.touch()
        with contextlib.chdir(tmp_path):
            assert title_of(f"timm:{rate}/encoder.pt") == f"timm:{rate}/encoder.pt"
        assert title_of(f"timm:local-dir:{path.parent}") == f"timm:local-dir:{tmp_path.name}/{rate}"


@pytest.mark.parametrize("missing", ["nowhere/encoder.pt", "nowhere/model.onnx", "random:nothing"])
def test_a_missing_encoder_is_told_before_the_first_is_asked(tiles: Sample, missing: str) -> None:
    begun: list[str] = []

    def stage(what: str, total: int) -> Callable[[], None]:
        begun.append(what)
        return lambda: None

    asked = questions(tiles, ["organ"])
    with pytest.raises(RequestInvalid, match=r"nothing|nowhere"):
        compare(["random:shufflenet_v2_x0_5", missing], tiles, asked, seeds=1, stage=stage)
    assert not begun
