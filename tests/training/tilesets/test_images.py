"""Tile images: which are packed, as which bytes, and why others are not."""

import gc
import re
import struct
import sys
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepsmile.digest import digest_of
from deepsmile.errors import RequestInvalid
from deepsmile.pyramid import resample
from deepsmile_training.tilesets.codec import TileDamaged, decode
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.recipe import ImageRules
from deepsmile_training.tilesets.sources import find_images
from deepsmile_training.tilesets.store import TileStore
from tests.training.tilesets.conftest import no_stage, press_in, tile_pixels, write_image
from tests.training.tilesets.hostile_images import jpeg_of, png_of


def packed(folder: Path, out: Path, **changes: object) -> TileStore:
    return pack(find_images([folder], None), press_in(out, **changes), no_stage)


def shard_bytes(store: TileStore) -> bytes:
    """All tiles of a store of one slide."""
    (path,) = store.folder.rglob("*.tiles")
    return path.read_bytes()


def as_cv2_reads(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1]


def test_jpeg_and_png_files_are_packed_as_their_bytes(tmp_path: Path) -> None:
    """Nothing is compressed twice."""
    paths = [
        write_image(tmp_path / "s" / f"{i}{e}", tile_pixels(i))
        for i, e in enumerate((".jpg", ".png"))
    ]
    store = packed(tmp_path / "s", tmp_path / "store")
    assert shard_bytes(store) == b"".join(path.read_bytes() for path in paths)
    assert store.names.tolist() == ["0.jpg", "1.png"]
    assert (store.cells == -1).all()
    for number, path in enumerate(paths):
        assert np.array_equal(store[number], as_cv2_reads(path))


@pytest.mark.parametrize("encoding", ["raw", "files"])
def test_images_of_any_kind_lose_nothing(encoding: str, tmp_path: Path) -> None:
    """Grey, alpha, palette-free TIFF and 16 bits: the RGB that OpenCV reads."""
    folder, pixels = tmp_path / "s", tile_pixels(1)
    folder.mkdir()
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 9, np.uint8)])
    cv2.imwrite(str(folder / "alpha.png"), alpha)
    cv2.imwrite(str(folder / "grey.png"), pixels[..., 0])
    cv2.imwrite(str(folder / "deep.png"), pixels.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "grey.jpg"), pixels[..., 0])
    cv2.imwrite(str(folder / "plain.tif"), pixels)
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    clear = struct.pack(">HHH", *pixels[0, 0].tolist())
    (folder / "clear.png").write_bytes(png_of(224, 224, lines, clear))
    store = packed(folder, tmp_path / "store", encoding=encoding)
    assert len(store) == 6
    for number, name in enumerate(store.names):
        assert np.array_equal(store[number], as_cv2_reads(folder / str(name)))


def test_a_jpeg_in_a_jpeg_store_keeps_its_bytes_and_a_png_is_coded(tmp_path: Path) -> None:
    jpeg = write_image(tmp_path / "s" / "0.jpg", tile_pixels(0))
    png = write_image(tmp_path / "s" / "1.png", tile_pixels(1))
    store = packed(tmp_path / "s", tmp_path / "store", encoding="jpeg")
    assert shard_bytes(store).startswith(jpeg.read_bytes())
    assert not np.array_equal(store[1], as_cv2_reads(png))
    assert np.abs(store[1].astype(int) - as_cv2_reads(png)).mean() < 2


def test_unreadable_tiles_are_dropped_with_their_reasons(
    image_folder: Path, tmp_path: Path
) -> None:
    good = (image_folder / "slide0" / "0.jpg").read_bytes()
    png = write_image(tmp_path / "other.png", tile_pixels(3)).read_bytes()
    grey = cv2.imencode(".png", tile_pixels(3)[..., 0])[1].tobytes()
    bad = {
        "cut.jpg": good[: len(good) // 2],
        "cut.png": png[: len(png) // 2],
        "cut-grey.png": grey[: len(grey) // 2],
        "empty.jpg": b"",
        "text.png": b"hello",
        "zeros.tif": bytes(1000),
    }
    for name, data in bad.items():
        (image_folder / "slide0" / name).write_bytes(data)
    store = packed(image_folder, tmp_path / "store")
    dropped = {(one.slide, one.tile): one.code for one in store.file.dropped}
    assert dropped == {("slide0", name): "tile_unreadable" for name in bad}
    assert [slide.tiles for slide in store.slides] == [2, 3, 4]
    assert next(one for one in store.file.dropped if one.tile == "cut.jpg").detail == (
        "a JPEG that ends early"
    )


def test_broken_pngs_wear_nothing_out() -> None:
    """Python has so many references to None, and ends when the last one is gone."""
    png = cv2.imencode(".png", tile_pixels(3))[1].tobytes()
    with pytest.raises(TileDamaged):
        decode(png[: len(png) // 2])
    gc.collect()
    before = sys.getrefcount(None)
    for _ in range(500):
        with suppress(TileDamaged):
            decode(png[: len(png) // 2])
    gc.collect()
    assert sys.getrefcount(None) > before - 250


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("huge.png", png_of(900_000, 900_000)),
        ("large.png", png_of(10_000, 12_000)),
        ("just.png", png_of(8192, 8193)),
        ("huge.jpg", jpeg_of(65_500, 65_500)),
        ("just.jpg", jpeg_of(8193, 8192)),
    ],
    ids=["huge-png", "large-png", "just-png", "huge-jpg", "just-jpg"],
)
def test_a_header_that_claims_too_much_costs_only_its_image(
    name: str, data: bytes, image_folder: Path, tmp_path: Path
) -> None:
    """Nothing of that size is allocated: libjpeg would make up 13 GB of grey."""
    (image_folder / "slide0" / name).write_bytes(data)
    store = packed(image_folder, tmp_path / "store")
    assert [slide.tiles for slide in store.slides] == [2, 3, 4]
    ((slide, tile, code, detail),) = (
        (one.slide, one.tile, one.code, one.detail) for one in store.file.dropped
    )
    assert (slide, tile, code) == ("slide0", name, "tile_unreadable")
    assert re.search("px, more than a tile image|exceeds limit", detail)


def test_other_sizes_are_dropped_and_listed(image_folder: Path, tmp_path: Path) -> None:
    write_image(image_folder / "slide0" / "large.jpg", tile_pixels(9, px=512))
    for number in range(2):
        write_image(image_folder / "odd" / f"{number}.png", tile_pixels(number, px=200))
    store = packed(image_folder, tmp_path / "store")
    found = {(one.slide, one.tile, one.code, one.detail) for one in store.file.dropped}
    assert found == {
        ("slide0", "large.jpg", "tile_size", "512 x 512 px"),
        ("odd", None, "no_tiles", "no tile to pack"),
        ("odd", "0.png", "tile_size", "200 x 200 px"),
        ("odd", "1.png", "tile_size", "200 x 200 px"),
    }
    assert len(store) == 9


def test_only_other_sizes_are_an_error_that_names_resize(tmp_path: Path) -> None:
    write_image(tmp_path / "s" / "0.png", tile_pixels(0, px=512))
    with pytest.raises(RequestInvalid, match="no image is 224 x 224 px; the first is 512") as why:
        packed(tmp_path / "s", tmp_path / "store")
    assert "--resize" in why.value.hint
    assert len(packed(tmp_path / "s", tmp_path / "store", rules=ImageRules(resize=True))) == 1


def test_resize_is_the_pipeline_s_own_resampling(tmp_path: Path) -> None:
    """docs/decisions.md: 2 x 2 means, then one bilinear step."""
    pixels = tile_pixels(4, px=512)
    write_image(tmp_path / "s" / "0.png", pixels)
    store = packed(tmp_path / "s", tmp_path / "store", rules=ImageRules(resize=True))
    expected = np.empty((224, 224, 3), np.uint8)
    resample(pixels, expected)
    assert np.array_equal(store[0], expected)


def test_a_budget_takes_the_first_good_images_of_a_seeded_order(tmp_path: Path) -> None:
    """Whatever is unreadable is no part of it; another seed takes others."""
    for number in range(12):
        write_image(tmp_path / "s" / f"{number}.jpg", tile_pixels(number))
    (tmp_path / "s" / "bad.jpg").write_bytes(b"bad")
    chosen = {}
    for seed in (0, 1):
        rules = ImageRules.model_validate({"budget": {"max_tiles": 5, "seed": seed}})
        store = packed(tmp_path / "s", tmp_path / f"store{seed}", rules=rules)
        names = [f"{number}.jpg" for number in range(12)]
        ranked = sorted(names, key=lambda name, seed=seed: digest_of([seed, "s", name]))
        chosen[seed] = store.names.tolist()
        assert chosen[seed] == ranked[:5]
    assert chosen[0] != chosen[1]


def test_no_tiles_is_an_error_with_what_to_check(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(RequestInvalid, match="no slide and no tile image was found"):
        packed(tmp_path / "s", tmp_path / "store")
    (tmp_path / "s" / "0.jpg").write_bytes(b"bad")
    with pytest.raises(RequestInvalid, match="no tile to pack: s: no_tiles"):
        packed(tmp_path / "s", tmp_path / "store")
