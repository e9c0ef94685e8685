"""Features of a tile store: those of serving's own road, for tiles that were packed before."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bag import load_bag
from deepsmile.bundle import Bundle
from deepsmile.contract import Encoder
from deepsmile.errors import BundleMismatch, RequestInvalid
from deepsmile.pipeline import SlideSource, extract
from deepsmile.reading import Reader, ReaderLimits
from deepsmile.slides.slide import RGB
from deepsmile_training.bundling.source import open_source
from deepsmile_training.cli.main import commands
from deepsmile_training.cohorts.cohort import Cohort, Patient, make_cohort
from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.prepared.features import (
    Extractor,
    encode_store,
    load_feature_set,
    stored_slides,
)
from deepsmile_training.prepared.prepared import open_prepared
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.recipe import ImageRules, TileRecipe, slide_rules
from deepsmile_training.tilesets.shard import TilesCorrupt
from deepsmile_training.tilesets.sources import find_images, find_slides
from deepsmile_training.tilesets.store import TileStore
from tests.making import feature_contract, tissue_image, write_svs
from tests.training.cohorts.tables import UUID
from tests.training.tilesets.conftest import no_stage, press_in, tile_pixels, write_image

DIM = 3
CLASSES = ("no", "yes")
CONTRACT = feature_contract().model_copy(
    update={"encoder": Encoder(name="means", sha256="1" * 64, feature_dim=DIM)}
)


class Means:
    """The mean colour of each tile, on two threads; counts the tiles of each call."""

    name, concurrency = "means", 2

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode(self, tiles: RGB) -> np.ndarray:
        self.calls.append(len(tiles))
        return tiles.mean(axis=(1, 2)).astype(np.float32)  # (B, 3)


def nothing() -> None:
    """Nobody is told."""


def cohort_of(*slides: str) -> Cohort:
    patients = [
        Patient(name=f"p{i}", slides=(slide,), labels={"msi": CLASSES[i % 2]})
        for i, slide in enumerate(slides)
    ]
    return make_cohort("little", patients, classes={"msi": CLASSES})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Eight slides of seven PNG tiles, and one that has no tile of the right size."""
    for slide in range(8):
        for tile in range(7):
            place = tmp_path / "images" / f"s{slide}" / f"{tile}.png"
            write_image(place, tile_pixels(10 * slide + tile))
    write_image(tmp_path / "images" / "small" / "0.png", tile_pixels(99, px=100))
    return tmp_path / "images"


def packed(images: Path, name: str = "tiles", **changes: object) -> TileStore:
    return pack(find_images([images], None), press_in(images.parent / name, **changes), no_stage)


@pytest.fixture
def using(tmp_path: Path) -> Extractor:
    limits = ReaderLimits(tmp_path / "scratch", 4 << 30, 60, 30.0)
    return Extractor("means", CONTRACT, Means(), lambda: Reader(limits, batch=4))


def test_a_store_s_tiles_become_the_bags_of_the_cohort_s_slides(
    images: Path, using: Extractor, tmp_path: Path
) -> None:
    cohort, store = cohort_of("s0", "s2", "s5", "small", "lost"), packed(images)
    ticks: list[int] = []
    made = encode_store(cohort, store, using, tmp_path, lambda: ticks.append(1))
    assert list(made.slides) == ["s0", "s2", "s5"]
    assert len(ticks) == 3
    assert made.dropped == {
        "lost": "slide_missing: not in the tile store",
        "small": "no_tiles: no tile to pack",
    }
    for slide in (0, 2, 5):
        place = tmp_path / "features" / "means" / f"s{slide}.npz"
        bag = load_bag(place, made.features.digest)
        tiles = np.stack([tile_pixels(10 * slide + tile) for tile in range(7)])  # (7, s, s, 3)
        np.testing.assert_array_equal(bag.features, Means().encode(tiles))
        assert bag.slide_sha256 == store.slides[slide].sha256
    assert using.encoder.calls == [4, 3] * 3, "batches of the reader's size"
    assert load_feature_set(tmp_path / "features" / "means") == made


def test_what_is_there_is_kept_and_other_tiles_are_encoded(
    images: Path, using: Extractor, tmp_path: Path
) -> None:
    cohort, folder = cohort_of("s0", "s1"), tmp_path / "features" / "means"
    first = encode_store(cohort, packed(images), using, tmp_path, nothing)
    using.encoder.calls.clear()
    assert encode_store(cohort, packed(images), using, tmp_path, nothing) == first
    assert using.encoder.calls == []
    (folder / "s0.npz").unlink()
    assert encode_store(cohort, packed(images), using, tmp_path, nothing) == first
    assert using.encoder.calls == [4, 3]
    write_image(images / "s1" / "0.png", tile_pixels(77))
    changed = encode_store(cohort, packed(images), using, tmp_path, nothing)
    assert using.encoder.calls == [4, 3] * 2
    assert changed.slides["s0"] == first.slides["s0"]
    assert changed.slides["s1"] != first.slides["s1"]


def other_encoder(images: Path, using: Extractor) -> tuple[TileStore, Extractor]:
    encoder = CONTRACT.encoder.model_copy(update={"sha256": "2" * 64})
    contract = CONTRACT.model_copy(update={"encoder": encoder})
    return packed(images), replace(using, contract=contract)


def other_recipe(images: Path, using: Extractor) -> tuple[TileStore, Extractor]:
    return packed(images, "other", encoding="jpeg"), using


@pytest.mark.parametrize("other", [other_encoder, other_recipe])
def test_bags_of_other_tiles_or_another_encoder_are_never_taken(
    images: Path,
    using: Extractor,
    tmp_path: Path,
    other: Callable[[Path, Extractor], tuple[TileStore, Extractor]],
) -> None:
    cohort = cohort_of(*(f"s{i}" for i in range(8)))
    cohort.write(tmp_path / "cohort.json")
    plan = SplitPlan(folds=2, val_share=0.5, labels=("msi",))
    make_split(cohort, plan).write(tmp_path / "split.json")
    known = encode_store(cohort, packed(images), using, tmp_path, nothing)
    prepared = open_prepared(tmp_path)
    labels = resolve_labels(cohort, prepared.split.folds[0], "msi")
    assert prepared.labelled(known, labels, "train").bags.features.shape[1] == DIM
    store, extractor = other(images, using)
    with pytest.raises(RequestInvalid, match="holds features by another encoder") as caught:
        encode_store(cohort, store, extractor, tmp_path, nothing)
    assert f"or remove {tmp_path / 'features' / 'means'}." in caught.value.hint
    theirs = encode_store(cohort, store, extractor, tmp_path / "theirs", nothing)
    assert theirs.features.digest != known.features.digest
    with pytest.raises(BundleMismatch, match="made under contract"):
        prepared.labelled(theirs, labels, "train")
    with pytest.raises(BundleMismatch, match="were made by other tile rules"):
        open_source(prepared, "means", CONTRACT)


def test_a_store_that_does_not_fit_is_refused(
    images: Path, using: Extractor, tmp_path: Path
) -> None:
    with pytest.raises(CohortInvalid, match="tiles of none of the 2 slides of little: x, y"):
        encode_store(cohort_of("x", "y"), packed(images), using, tmp_path, nothing)
    small = packed(images, "little", rules=ImageRules(tile_px=100))
    with pytest.raises(RequestInvalid, match="tiles of 100 px, and means takes 224"):
        encode_store(cohort_of("small", "y"), small, using, tmp_path, nothing)
    store = packed(images)
    for shard in (tmp_path / "tiles" / "shards").glob("*.tiles"):
        shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(TilesCorrupt):
        encode_store(cohort_of("s0", "s1"), store, using, tmp_path, nothing)


@pytest.mark.slow
def test_tiles_of_slides_get_the_served_features_bit_for_bit(
    bundle: Bundle, using: Extractor, tmp_path: Path
) -> None:
    """Packed raw by the encoder's own rules; only where the grid begins is not kept."""
    served_by = replace(
        using, contract=bundle.contract.features, encoder=OnnxBackend(bundle, threads=2)
    )
    (tmp_path / "slides").mkdir()
    slides = {
        name: write_svs(tmp_path / "slides" / f"{name}.svs", tissue_image(1700, 1700, seed, 0.9))
        for seed, name in enumerate(("a", "b"))
    }
    recipe = TileRecipe(encoding="raw", rules=slide_rules(served_by.contract))
    press = replace(press_in(tmp_path / "tiles"), recipe=recipe)
    store = pack(find_slides([tmp_path / "slides"], None), press, no_stage)
    made = encode_store(cohort_of("a", "b"), store, served_by, tmp_path, nothing)
    for name, path in slides.items():
        with closing(served_by.make_reader()) as reader:
            served = extract(
                SlideSource(path), served_by.contract, served_by.encoder, reader
            ).need_bag()
        bag = load_bag(tmp_path / "features" / "means" / f"{name}.npz", made.features.digest)
        assert len(bag.features) > 4, "more than a batch"
        np.testing.assert_array_equal(bag.features, served.features)
        np.testing.assert_array_equal(bag.cells, served.cells)
        assert bag.slide_sha256 == served.slide_sha256
        assert bag.features_digest != served.features_digest


@pytest.mark.slow
@pytest.mark.parametrize("option", [(), ("--store", "elsewhere")])
def test_the_command_takes_the_cohort_s_own_store_or_a_named_one(
    images: Path,
    bundle: Bundle,
    tmp_path: Path,
    option: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPSMILE_MODEL_REPOSITORY", str(bundle.root))
    monkeypatch.chdir(tmp_path)
    cohort_of("s0", "s1", "lost").write(tmp_path / "crck" / "cohort.json")
    words = ["features", "crck", "--encoder", bundle.name, "--extractor", "tiny", *option]
    refused = CliRunner().invoke(commands, words)
    assert isinstance(refused.exception, RequestInvalid)
    assert f"{option[-1] if option else 'crck/tiles'} is no tile store" in refused.exception.detail
    (tmp_path / "crck").mkdir(exist_ok=True)
    packed(images, option[-1] if option else "crck/tiles")
    done = CliRunner().invoke(commands, words)
    assert done.exit_code == 0, done.output
    assert "lost: slide_missing: not in the tile store" in done.output
    assert "tiny: 2 slides, 1 left out" in done.output
    both = CliRunner().invoke(commands, [*words, "images", "--store", "elsewhere"])
    assert isinstance(both.exception, RequestInvalid)
    assert both.exception.detail == "slides and a tile store are given"


def renamed(images: Path, names: dict[str, str]) -> TileStore:
    """A store whose slides are called as their files are."""
    for name, new in names.items():
        (images / name).rename(images / new)
    return packed(images)


def test_slides_as_the_gdc_delivers_them_are_the_cohort_s(
    images: Path, using: Extractor, tmp_path: Path
) -> None:
    """Files are called BARCODE.UUID.svs, so their slides in a store BARCODE.UUID."""
    names = {f"s{k}": f"s{k}.{UUID}" for k in range(8)} | {"small": f"small.{UUID}"}
    store = renamed(images, names)
    assert all(slide.name.endswith(UUID) for slide in store.slides)
    cohort = cohort_of("s0", "s2.svs", f"s5.{UUID}", "small", "lost")
    assert stored_slides(cohort, store) == {"s0": 0, "s2.svs": 2, f"s5.{UUID}": 5}
    made = encode_store(cohort, store, using, tmp_path, nothing)
    assert list(made.slides) == ["s0", "s2.svs", f"s5.{UUID}"]
    assert made.dropped == {
        "lost": "slide_missing: not in the tile store",
        "small": "no_tiles: no tile to pack",
    }
    bag = load_bag(tmp_path / "features" / "means" / "s2.svs.npz", made.features.digest)
    tiles = np.stack([tile_pixels(20 + tile) for tile in range(7)])  # (7, s, s, 3)
    np.testing.assert_array_equal(bag.features, Means().encode(tiles))


def test_a_slide_that_a_store_has_by_two_names_is_refused(images: Path) -> None:
    other = UUID.replace("04B", "05C")
    store = renamed(images, {"s0": f"s.{UUID}", "s1": f"s.{other}"})
    with pytest.raises(CohortInvalid, match=rf"slide s is in .*tiles as s\.{UUID}, s\.{other}"):
        stored_slides(cohort_of("s", "s2"), store)


def with_twin(images: Path, one: str, twin: str) -> TileStore:
    """The twin has the same tiles, under another name."""
    shutil.rmtree(images / twin)
    shutil.copytree(images / one, images / twin)
    return packed(images)


def test_a_stored_slide_that_is_there_twice_is_used_once(
    images: Path, using: Extractor, tmp_path: Path
) -> None:
    store = with_twin(images, "s0", "s1")
    people = [Patient(name="p", slides=("s0", "s1")), Patient(name="q", slides=("s2",))]
    made = encode_store(make_cohort("two", people), store, using, tmp_path, nothing)
    assert list(made.slides) == ["s0", "s2"]
    assert made.dropped == {"s1": "slide_twice: the same bytes as s0"}


def test_a_stored_slide_of_two_patients_is_refused(
    images: Path, using: Extractor, tmp_path: Path
) -> None:
    store = with_twin(images, "s0", "s1")
    shared = "slide s0 of patient p0 and slide s1 of patient p1 have the same bytes"
    with pytest.raises(CohortInvalid, match=shared):
        encode_store(cohort_of("s0", "s1", "s2"), store, using, tmp_path, nothing)
    theirs = encode_store(cohort_of("s1", "s2"), store, using, tmp_path, nothing)
    assert list(theirs.slides) == ["s1", "s2"], "whichever of the two is the cohort's"
