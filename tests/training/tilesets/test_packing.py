"""Runs that stop and go on; folders that are taken."""

import fcntl
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from deepsmile.errors import RequestInvalid, StorageFull
from deepsmile_training.tilesets.manifest import read_manifest
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.shard import TilesCorrupt
from deepsmile_training.tilesets.sources import find_images
from deepsmile_training.tilesets.store import TileStore, open_store
from tests.training.tilesets.conftest import no_stage, press_in, tile_pixels, write_image

pytestmark = pytest.mark.slow


def packed(folder: Path, out: Path, **changes: object) -> TileStore:
    return pack(find_images([folder], None), press_in(out, **changes), no_stage)


def times(store: Path) -> dict[str, int]:
    """When each finished shard was written."""
    return {path.name: path.stat().st_mtime_ns for path in store.rglob("*.npz")}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As on a full disk: no file may be larger."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_stops_the_run_and_the_next_goes_on(image_folder: Path, tmp_path: Path) -> None:
    """slide0 and slide1 fit, slide2 does not: it is no slide's fault, and none is dropped."""
    store = tmp_path / "store"
    with largest_file(3 * 224 * 224 * 3), pytest.raises(StorageFull) as full:
        packed(image_folder, store, encoding="raw")
    assert "run the same command again" in full.value.hint
    assert list(store.rglob("*.partial")) == []
    with pytest.raises(RequestInvalid, match="not complete"):
        open_store(store)
    before = times(store)
    assert len(before) == 2
    again = packed(image_folder, store, encoding="raw")
    assert again.file.dropped == ()
    assert again.digest == packed(image_folder, tmp_path / "other", encoding="raw").digest
    assert before.items() <= times(store).items()


def test_nothing_is_done_twice_and_a_changed_slide_is(image_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = packed(image_folder, store)
    before = times(store)
    assert packed(image_folder, store).digest == first.digest
    assert times(store) == before
    write_image(image_folder / "slide1" / "0.jpg", tile_pixels(99))
    changed = packed(image_folder, store)
    same = {name for name, when in times(store).items() if before[name] == when}
    assert same == {f"{slide.shard}.npz" for slide in first.slides if slide.name != "slide1"}
    expected = packed(image_folder, tmp_path / "other")
    assert changed.digest == expected.digest != first.digest


def test_a_tile_replaced_by_another_of_its_size_is_packed_anew(tmp_path: Path) -> None:
    """Uncompressed TIFF: as many bytes whatever the pixels, so only the time tells."""
    path = tmp_path / "s" / "0.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, tile_pixels(0))
    first, facts = packed(path.parent, tmp_path / "store"), path.stat()
    tifffile.imwrite(path, tile_pixels(1))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1_000_000))
    assert path.stat().st_size == facts.st_size
    again = packed(path.parent, tmp_path / "store")
    assert again.digest != first.digest
    assert np.array_equal(again[0], tile_pixels(1))


def test_slides_can_be_added(image_folder: Path, tmp_path: Path) -> None:
    packed(image_folder, tmp_path / "store")
    write_image(image_folder / "a" / "0.jpg", tile_pixels(50))
    store = packed(image_folder, tmp_path / "store")
    assert [slide.name for slide in store.slides] == ["a", "slide0", "slide1", "slide2"]
    assert store.digest == packed(image_folder, tmp_path / "other").digest


def test_slides_of_other_folders_are_added(image_folder: Path, tmp_path: Path) -> None:
    """As if all had been packed at once, reasons included; nothing of the former is written."""
    (image_folder / "slide0" / "bad.jpg").write_bytes(b"bad")
    (image_folder / "broken").mkdir()
    (image_folder / "broken" / "0.jpg").write_bytes(b"bad")
    packed(image_folder, tmp_path / "store")
    before = times(tmp_path / "store")
    write_image(tmp_path / "more" / "a" / "0.jpg", tile_pixels(50))
    added = packed(tmp_path / "more", tmp_path / "store")
    assert [slide.name for slide in added.slides] == ["a", "slide0", "slide1", "slide2"]
    assert before.items() <= times(tmp_path / "store").items()
    places = find_images([image_folder, tmp_path / "more"], None)
    once = pack(places, press_in(tmp_path / "once"), no_stage)
    assert added.digest == once.digest
    assert set(added.file.dropped) == set(once.file.dropped)
    assert len(added.file.dropped) == 3
    added.verify()


def test_what_is_given_again_is_as_it_is_now(image_folder: Path, tmp_path: Path) -> None:
    """slide1 has changed, slide2 has become unreadable; slide0 is not given."""
    first = packed(image_folder, tmp_path / "store")
    (image_folder / "slide0").rename(tmp_path / "slide0")
    write_image(image_folder / "slide1" / "9.jpg", tile_pixels(99))
    for path in (image_folder / "slide2").iterdir():
        path.write_bytes(b"bad")
    again = packed(image_folder, tmp_path / "store")
    assert again.slides[0] == first.slides[0]
    assert [(slide.name, slide.tiles) for slide in again.slides] == [("slide0", 2), ("slide1", 4)]


def test_a_manifest_of_all_adds_folder_by_folder(image_folder: Path, tmp_path: Path) -> None:
    """What it names and an earlier run has packed is not missing; what it leaves out goes."""
    for number in range(3):
        (tmp_path / f"in{number}").mkdir()
        (image_folder / f"slide{number}").rename(tmp_path / f"in{number}" / f"slide{number}")
    table = tmp_path / "slides.csv"
    table.write_text("slide,case\nslide0,P0\nslide1,P1\nslide2,P2\nnowhere,P3\n")
    for number in range(2):
        found = find_images([tmp_path / f"in{number}"], read_manifest(table))
        store = pack(found, press_in(tmp_path / "store"), no_stage)
    assert [(slide.name, slide.case) for slide in store.slides] == [
        ("slide0", "P0"),
        ("slide1", "P1"),
    ]
    assert [one.slide for one in store.file.dropped] == ["slide2", "nowhere"]
    table.write_text("slide,case\nslide1,P1\n")
    both = find_images([tmp_path / "in0", tmp_path / "in1"], read_manifest(table))
    store = pack(both, press_in(tmp_path / "store"), no_stage)
    assert [slide.name for slide in store.slides] == ["slide1"]


def test_a_twin_of_a_slide_packed_before_is_not_added(image_folder: Path, tmp_path: Path) -> None:
    first = packed(image_folder, tmp_path / "store")
    shutil.copytree(image_folder / "slide1", tmp_path / "more" / "twin")
    again = packed(tmp_path / "more", tmp_path / "store")
    assert again.digest == first.digest
    assert [(one.slide, one.code) for one in again.file.dropped] == [("twin", "slide_twice")]


def test_nothing_to_add_is_an_error_and_changes_nothing(image_folder: Path, tmp_path: Path) -> None:
    first = packed(image_folder, tmp_path / "store")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestInvalid, match="no slide and no tile image was found"):
        packed(tmp_path / "empty", tmp_path / "store")
    assert open_store(tmp_path / "store").digest == first.digest


def test_verify_reads_what_is_not_given_too(image_folder: Path, tmp_path: Path) -> None:
    """It cannot be packed anew without its source."""
    store = packed(image_folder, tmp_path / "store")
    path = store.folder / "shards" / f"{store.slides[0].shard}.tiles"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    write_image(tmp_path / "more" / "a" / "0.jpg", tile_pixels(50))
    with pytest.raises(TilesCorrupt, match="of slide0: other bytes than were packed"):
        packed(tmp_path / "more", tmp_path / "store", verify=True)


def test_a_store_does_not_depend_on_workers_or_on_where_it_lies(
    image_folder: Path, tmp_path: Path
) -> None:
    one = packed(image_folder, tmp_path / "one", workers=1)
    three = packed(image_folder, tmp_path / "three", workers=3)
    assert one.digest == three.digest
    assert np.array_equal(one.read(range(len(one))), three.read(range(len(three))))


def test_verify_packs_a_changed_shard_anew(image_folder: Path, tmp_path: Path) -> None:
    """Without it only names, sizes and times are looked at."""
    store = packed(image_folder, tmp_path / "store")
    path = next(iter(sorted(store.folder.rglob("*.tiles"))))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    packed(image_folder, tmp_path / "store")
    assert path.read_bytes() == bytes(data)
    packed(image_folder, tmp_path / "store", verify=True).verify()
    assert path.read_bytes() != bytes(data)


def test_a_folder_holds_tiles_of_one_recipe(image_folder: Path, tmp_path: Path) -> None:
    """HOUSE STYLE 10: mismatch raises; it never warns."""
    packed(image_folder, tmp_path / "store")
    with pytest.raises(RequestInvalid, match="tiles of another recipe: encoding differ"):
        packed(image_folder, tmp_path / "store", encoding="raw")


def test_two_runs_do_not_pack_into_one_folder(image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with (tmp_path / "store" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RequestInvalid, match="another run packs there"):
            packed(image_folder, tmp_path / "store")
    assert len(packed(image_folder, tmp_path / "store")) == 9


def test_slides_of_the_same_tiles_are_one(image_folder: Path, tmp_path: Path) -> None:
    """Lest a split put the one in training and the other in testing."""
    for path in sorted((image_folder / "slide1").iterdir()):
        write_image(image_folder / "twin" / path.name, np.zeros((1, 1, 3), np.uint8))
        (image_folder / "twin" / path.name).write_bytes(path.read_bytes())
    store = packed(image_folder, tmp_path / "store")
    assert [slide.name for slide in store.slides] == ["slide0", "slide1", "slide2"]
    assert [(one.slide, one.code, one.detail) for one in store.file.dropped] == [
        ("twin", "slide_twice", "the same bytes as slide1")
    ]


def test_a_link_to_nowhere_is_no_tile_and_is_listed(image_folder: Path, tmp_path: Path) -> None:
    """So is a folder of such a name, unless it is a slide's."""
    (image_folder / "slide0" / "z.jpg").symlink_to(tmp_path / "nowhere")
    (image_folder / "slide0" / "y.png").mkdir()
    (image_folder / "slide2").rename(image_folder / "slide2.png")
    (image_folder / "x.jpg").symlink_to(tmp_path / "nowhere")
    first = packed(image_folder, tmp_path / "store")
    store = packed(image_folder, tmp_path / "store")
    assert store.file == first.file
    assert [(slide.name, slide.tiles) for slide in store.slides] == [
        ("slide0", 2),
        ("slide1", 3),
        ("slide2.png", 4),
    ]
    assert [(one.slide, one.tile, one.code, one.detail) for one in store.file.dropped] == [
        ("slide0", "y.png", "tile_unreadable", "a folder"),
        ("slide0", "z.jpg", "tile_unreadable", "a link that leads to no file"),
        ("images", "x.jpg", "tile_unreadable", "a link that leads to no file"),
    ]


def test_progress_counts_slides(image_folder: Path, tmp_path: Path) -> None:
    told: list[object] = []

    def stage(what: str, total: int) -> Callable[[], None]:
        told.append((what, total))
        return lambda: told.append("one")

    pack(find_images([image_folder], None), press_in(tmp_path / "store"), stage)
    assert told == [("slides", 3), "one", "one", "one"]


def test_a_sheet_shows_the_tiles_of_its_slide(tmp_path: Path) -> None:
    """64 tiles of 100, spread evenly, each where it belongs; at most 300 kB."""
    for number in range(100):
        colour = np.full((224, 224, 3), (2 * number, 255 - 2 * number, 90), np.uint8)
        write_image(tmp_path / "s" / f"{number:03}.png", colour)
    packed(tmp_path / "s", tmp_path / "store")
    path = tmp_path / "store" / "qc" / "s.jpg"
    sheet = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    assert sheet.shape == (28 + 8 * 104, 8 * 104, 3)
    for place in range(64):
        number = place * 99 // 63
        found = sheet[28 + place // 8 * 104 + 50, place % 8 * 104 + 50]
        assert np.abs(found.astype(int) - (2 * number, 255 - 2 * number, 90)).max() < 8
    assert path.stat().st_size <= 300_000


def test_a_lost_sheet_is_made_again(image_folder: Path, tmp_path: Path) -> None:
    packed(image_folder, tmp_path / "store")
    sheet = tmp_path / "store" / "qc" / "slide1.jpg"
    before = sheet.read_bytes()
    sheet.unlink()
    packed(image_folder, tmp_path / "store")
    assert sheet.read_bytes() == before


def test_a_sheet_of_noise_is_small_all_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(64):
        noise = rng.integers(0, 255, (224, 224, 3), np.uint8)
        write_image(tmp_path / "s" / f"{number}.jpg", noise)
    packed(tmp_path / "s", tmp_path / "store")
    assert (tmp_path / "store" / "qc" / "s.jpg").stat().st_size <= 300_000
