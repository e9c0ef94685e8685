"""Hostile slides: whatever the bytes, there is a report or an error of ours, and life goes on."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.errors import DeepSmileError, all_codes
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.report import Report
from tests import hostile
from tests.making import tissue_image, write_svs, write_tiff

Score = Callable[[Path], str]
SEED = 20261122
KNOWN = {*all_codes(), "scored"}


@pytest.fixture
def outcome(bundle: Bundle, backend: OnnxBackend, reader: Reader) -> Score:
    """What became of a slide: "scored", or the code of the abstention or the error."""

    def score(path: Path) -> str:
        try:
            report = score_slide(SlideSource(path), bundle, backend, reader)
        except DeepSmileError as error:
            return error.code
        assert isinstance(report, Report)
        return report.abstention.code if report.abstention else "scored"

    return score


@pytest.fixture(scope="module")
def small_slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One tile row of tissue in four layouts, some 50 kB each."""
    folder = tmp_path_factory.mktemp("small")
    image = tissue_image(1100, 600, tissue=0.9)
    return [
        write_svs(folder / "a.svs", image),
        write_tiff(folder / "b.tif", image),
        write_tiff(folder / "c.tif", image, levels=1, compression="lzw"),
        write_tiff(folder / "d.tif", image, levels=2, compression="aperio_jp2000_rgb"),
    ]


def test_the_small_slides_are_good_ones(small_slides: list[Path], outcome: Score) -> None:
    assert [outcome(path) for path in small_slides] == ["scored"] * 4


@pytest.mark.slow
def test_a_slide_cut_short_anywhere_has_an_outcome_and_harms_nobody(
    small_slides: list[Path], outcome: Score, reader: Reader, tmp_path: Path
) -> None:
    """HOUSE STYLE 36: sixty cuts; a slide that lost bytes is never scored."""
    rng, seen = np.random.default_rng(SEED), Counter[str]()
    host = reader.host_pid
    for index in range(60):
        good = small_slides[index % 4]
        path = Path(shutil.copy(good, tmp_path / f"slide{good.suffix}"))
        hostile.truncated(path, int(rng.integers(0, good.stat().st_size)))
        seen[outcome(path)] += 1
    assert seen.keys() <= KNOWN - {"scored", "reader_killed", "internal_error", "slide_timeout"}
    assert reader.host_pid == host
    assert outcome(small_slides[0]) == "scored"


@pytest.mark.slow
def test_a_slide_with_changed_bytes_has_an_outcome_and_harms_nobody(
    small_slides: list[Path], outcome: Score, reader: Reader, tmp_path: Path
) -> None:
    """READERS 4.4: header fuzz killed cuCIM in 4-5 of 160 files; behind the preflight none."""
    rng, seen = np.random.default_rng(SEED), Counter[str]()
    host = reader.host_pid
    for index in range(150):
        good = small_slides[index % 4]
        path = tmp_path / f"slide{good.suffix}"
        path.write_bytes(hostile.mutated(good.read_bytes(), rng, header_bytes=600))
        seen[outcome(path)] += 1
    assert seen.keys() <= KNOWN - {"reader_killed", "internal_error"}
    assert seen["slide_timeout"] == 0
    assert reader.host_pid == host
    assert outcome(small_slides[0]) == "scored"


def _patched(tag: int, value: int, index: int = 0) -> Callable[[Path], Path]:
    return lambda path: hostile.patch_tag(path, tag, value, index=index)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_patched(hostile.WIDTH, 2**31), "slide_too_large"),
        (_patched(hostile.LENGTH, 2**32 - 1), "slide_too_large"),
        (_patched(hostile.WIDTH, 0), "slide_corrupt"),
        (_patched(hostile.TILE_WIDTH, 65_520), "slide_too_large"),
        (_patched(hostile.OFFSETS, 2**31, 3), "slide_truncated"),
        (lambda path: hostile.patch_tag_count(path, hostile.OFFSETS, 3), "slide_corrupt"),
        (lambda path: hostile.zero_tile(path, 5), "slide_corrupt"),
        (lambda path: hostile.hollow_tile(path, 5), "slide_corrupt"),
        (lambda path: hostile.drop_tile(path, 5), "scored"),
        (hostile.loop_pages, "scored"),
        (lambda path: hostile.truncated(path, 0), "slide_empty"),
        (lambda path: hostile.truncated(path, 8), "slide_truncated"),
        (lambda path: hostile.truncated(path, path.stat().st_size - 1), "slide_truncated"),
    ],
    ids=[
        "width 2^31", "length 2^32", "width 0", "tiles of 65520", "offset beyond",
        "offsets missing", "tile zeroed", "tile hollow", "tile missing", "loop of pages",
        "empty", "header only", "last byte lost",
    ],
)  # fmt: skip
def test_known_damage_has_its_code(
    small_slides: list[Path],
    outcome: Score,
    tmp_path: Path,
    damage: Callable[[Path], Path],
    code: str,
) -> None:
    """READERS 4 and 5: the files that killed readers, each with its own answer."""
    path = Path(shutil.copy(small_slides[0], tmp_path / "slide.svs"))
    assert outcome(damage(path)) == code


@pytest.mark.parametrize(
    ("slide", "page", "index"),
    [(0, 0, 5), (1, 1, 1), (2, 0, 5), (3, 1, 1)],
    ids=["svs", "jpeg", "lzw", "jpeg 2000"],
)
@pytest.mark.parametrize("damage", [hostile.zero_tile, hostile.hollow_tile])
def test_a_corrupt_tile_has_the_same_code_in_every_layout(
    small_slides: list[Path],
    outcome: Score,
    tmp_path: Path,
    slide: int,
    page: int,
    index: int,
    damage: Callable[[Path, int, int], Path],
) -> None:
    """On the level that the tiles are cut from."""
    good = small_slides[slide]
    path = Path(shutil.copy(good, tmp_path / f"slide{good.suffix}"))
    assert outcome(damage(path, index, page)) == "slide_corrupt"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"slide.svs": None}, "scored"),
        ({"deep/slide": None, "notes.txt": b"x"}, "scored"),
        ({"bomb.svs": bytes(15 << 20)}, "archive_unsafe"),
        ({"../slide.svs": None}, "archive_unsafe"),
        ({"inner.zip": b"PK\x03\x04"}, "slide_unsupported"),
        ({}, "slide_unsupported"),
    ],
    ids=["slide", "folder", "bomb", "slip", "nested", "empty"],
)
def test_a_zip_has_the_outcome_of_what_is_in_it(
    small_slides: list[Path],
    outcome: Score,
    tmp_path: Path,
    members: dict[str, bytes | None],
    code: str,
) -> None:
    contents: dict[str, bytes | Path] = {
        name: small_slides[0] if content is None else content for name, content in members.items()
    }
    assert outcome(hostile.zip_of(tmp_path / "upload", contents)) == code


def test_a_zip_of_a_link_and_an_encrypted_one_are_refused(outcome: Score, tmp_path: Path) -> None:
    assert outcome(hostile.zip_with_link(tmp_path / "link", "/etc/passwd")) == "archive_unsafe"
    locked = hostile.encrypted(hostile.zip_of(tmp_path / "locked", {"a.svs": b"II*\0"}))
    assert outcome(locked) == "slide_unsupported"
