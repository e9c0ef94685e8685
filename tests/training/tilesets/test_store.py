"""A store as training reads it, and what it says when a file of it is damaged."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from deepsmile.digest import digest_of
from deepsmile.errors import RequestInvalid
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.shard import TilesCorrupt, index_path
from deepsmile_training.tilesets.sources import find_images
from deepsmile_training.tilesets.store import TileStore, open_store, shard_path
from tests.training.tilesets.conftest import no_stage, press_in, tile_pixels, write_image

SIZES = [2, 3, 4]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    """Three slides with 2, 3 and 4 raw tiles."""
    folder = tmp_path_factory.mktemp("store")
    for slide, tiles in enumerate(SIZES):
        for tile in range(tiles):
            write_image(
                folder / "images" / f"s{slide}" / f"{tile}.png", tile_pixels(10 * slide + tile)
            )
    press = press_in(folder / "store", encoding="raw")
    return pack(find_images([folder / "images"], None), press, no_stage)


@pytest.fixture
def store(whole: TileStore, tmp_path: Path) -> TileStore:
    """A copy, to be damaged."""
    shutil.copytree(whole.folder, tmp_path / "copy")
    return open_store(tmp_path / "copy")


def expected() -> np.ndarray:
    """(9, 224, 224, 3), in the order of the store."""
    return np.stack(
        [tile_pixels(10 * s + t) for s, tiles in enumerate(SIZES) for t in range(tiles)]
    )


def test_tiles_are_numbered_slide_after_slide(whole: TileStore) -> None:
    assert len(whole) == 9
    assert [(slide.name, slide.case, slide.tiles) for slide in whole.slides] == [
        ("s0", "s0", 2),
        ("s1", "s1", 3),
        ("s2", "s2", 4),
    ]
    assert whole.slide_index.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert np.array_equal(np.stack([whole[number] for number in range(9)]), expected())


def test_tiles_come_in_the_order_they_are_asked_for(whole: TileStore) -> None:
    numbers = np.array([8, 0, 2, 2, 5])
    assert np.array_equal(whole.read(numbers), expected()[numbers])
    assert whole.read([]).shape == (0, 224, 224, 3)


@pytest.mark.parametrize("number", [-1, 9])
def test_a_number_outside_is_an_index_error(number: int, whole: TileStore) -> None:
    """So a store can be iterated over, too."""
    with pytest.raises(IndexError, match=f"tile {number} of 9"):
        whole[number]


def test_a_tile_may_be_written_to(whole: TileStore) -> None:
    """torch warns of arrays that may not; the store does not change."""
    whole[3][:] = 0
    assert np.array_equal(whole[3], expected()[3])


def test_a_pickled_store_is_its_folder(whole: TileStore) -> None:
    whole[0]
    data = pickle.dumps(whole)
    again = pickle.loads(data)
    assert len(data) < 300
    assert again.digest == whole.digest
    assert np.array_equal(again[7], expected()[7])


def test_a_label_is_part_of_what_is_reported_and_no_part_of_the_tiles(whole: TileStore) -> None:
    """`digest` is what reports have pinned so far: all of each slide but the name of its shard."""

    def with_first(**changes: object) -> TileStore:
        slides = (whole.slides[0].model_copy(update=changes), *whole.slides[1:])
        return TileStore(whole.folder, whole.file.model_copy(update={"slides": slides}))

    names = ("name", "case", "labels", "sha256", "tiles", "tiles_sha256")
    told = [{name: getattr(slide, name) for name in names} for slide in whole.slides]
    assert whole.digest == digest_of([whole.file.recipe.model_dump(mode="json"), told])
    for corrected in (with_first(labels={"organ": "lung"}), with_first(case="other")):
        assert corrected.digest != whole.digest
        assert corrected.tiles_digest == whole.tiles_digest
    for changes in ({"tiles_sha256": "0" * 64}, {"sha256": "0" * 64}, {"tiles": 3}, {"name": "z"}):
        assert with_first(**changes).tiles_digest != whole.tiles_digest
    recipe = whole.file.recipe.model_copy(update={"encoding": "jpeg"})
    other = TileStore(whole.folder, whole.file.model_copy(update={"recipe": recipe}))
    assert other.tiles_digest != whole.tiles_digest


def test_workers_of_a_data_loader_read_it(whole: TileStore) -> None:
    loader = DataLoader(whole, batch_size=4, num_workers=2)
    found = np.concatenate([batch.numpy() for batch in loader])
    assert np.array_equal(found, expected())


def test_more_slides_than_a_process_may_open_files(whole: TileStore) -> None:
    """No file stays open: TCGA has more slides than the usual 1,024 handles."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    whole.read(range(9))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def tiles_of(store: TileStore, number: int) -> Path:
    return shard_path(store.folder, store.slides[number].shard)


def test_a_shard_cut_short_is_corrupt_and_the_others_are_not(store: TileStore) -> None:
    path = tiles_of(store, 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TilesCorrupt, match=f"{path.name}: 451583 bytes, not 451584") as why:
        store[2]
    assert "Delete the file and pack again" in why.value.hint
    assert np.array_equal(store[0], expected()[0])


def test_a_shard_cut_short_while_it_is_read_is_corrupt(store: TileStore) -> None:
    """An error, where a memory map would be a SIGBUS."""
    store[2]
    path = tiles_of(store, 1)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TilesCorrupt, match="tile 0: the file was cut short"):
        store[2]


def test_an_index_with_any_byte_changed_is_the_same_or_corrupt(store: TileStore) -> None:
    path = index_path(tiles_of(store, 0))
    good, refused = path.read_bytes(), 0
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xA5]) + good[place + 1 :])
        try:
            found = open_store(store.folder).read([0, 1])
        except TilesCorrupt:
            refused += 1
        else:
            assert np.array_equal(found, expected()[:2])
    assert refused > len(good) / 7 / 2


def test_the_shard_of_another_slide_is_no_shard_of_this_one(store: TileStore) -> None:
    for path_of in (lambda n: tiles_of(store, n), lambda n: index_path(tiles_of(store, n))):
        shutil.copy(path_of(0), path_of(1))
    with pytest.raises(TilesCorrupt, match=r"of s1: not the tiles of store\.json"):
        store[2]


def test_verify_finds_a_changed_bit(store: TileStore) -> None:
    store.verify()
    path = tiles_of(store, 2)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(TilesCorrupt, match="of s2: other bytes than were packed"):
        store.verify()


def test_a_missing_shard_is_named_when_the_store_is_opened(store: TileStore) -> None:
    tiles_of(store, 1).unlink()
    with pytest.raises(TilesCorrupt, match="of s1: missing"):
        open_store(store.folder)


def test_a_damaged_store_file_is_corrupt_and_none_is_no_store(store: TileStore) -> None:
    (store.folder / "store.json").write_text('{"format": "deepsmile-tiles/2"}')
    with pytest.raises(TilesCorrupt, match=r"store\.json"):
        open_store(store.folder)
    (store.folder / "store.json").unlink()
    with pytest.raises(RequestInvalid, match="no tile store"):
        open_store(store.folder)


def test_a_tile_that_is_no_image_any_more_is_corrupt(image_folder: Path, tmp_path: Path) -> None:
    press = press_in(tmp_path / "store")
    store = pack(find_images([image_folder], None), press, no_stage)
    path = tiles_of(store, 0)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(TilesCorrupt, match=f"{path.name}, tile 1"):
        store[1]
