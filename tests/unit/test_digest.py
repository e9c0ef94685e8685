"""Digests: of values, of files, of folders."""

import hashlib
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsmile.digest import (
    CHUNK_BYTES,
    canonical_json,
    digest_beside,
    digest_of,
    digest_of_file,
    digest_of_slide,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def test_a_value_is_spelled_with_sorted_keys_and_no_spaces() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"ä": "µ"}}
    assert canonical_json(value) == '{"a":{"\\u00e4":"\\u00b5"},"b":[1,2.5,null,true]}'


def test_the_digest_is_the_sha256_of_that_spelling() -> None:
    spelled = b'{"a":1,"b":[2.5]}'
    assert digest_of({"b": [2.5], "a": 1}) == hashlib.sha256(spelled).hexdigest()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {"a": [math.nan]}])
def test_what_json_cannot_spell_has_no_digest(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of(value)


def _backwards(value: object) -> object:
    if isinstance(value, dict):
        return {key: _backwards(value[key]) for key in reversed(value)}
    return [_backwards(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_the_order_of_keys_does_not_matter(value: object) -> None:
    assert digest_of(_backwards(value)) == digest_of(value)


def test_the_seed_of_python_s_hashes_does_not_matter() -> None:
    """Two machines, two hash seeds, one digest."""
    code = "from deepsmile.digest import digest_of; print(digest_of({c: c for c in 'digest'}))"
    command = [sys.executable, "-c", code]
    said = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {digest_of({c: c for c in "digest"}).encode() + b"\n"}


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_a_file_s_digest_covers_every_byte_across_chunks(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x5a" * size)
    assert digest_of_file(path) == hashlib.sha256(b"\x5a" * size).hexdigest()


def test_a_slide_that_is_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    """The digest is the upload's, whatever the file is called."""
    (tmp_path / "a.svs").write_bytes(b"slide")
    (tmp_path / "b").write_bytes(b"slide")
    assert digest_of_slide(tmp_path / "a.svs") == digest_of_slide(tmp_path / "b")
    assert digest_of_slide(tmp_path / "b") == hashlib.sha256(b"slide").hexdigest()


def _folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_a_folder_s_digest_is_that_of_its_sorted_names_and_digests(tmp_path: Path) -> None:
    folder = _folder(tmp_path, {"b.dcm": b"2", "a/c.dcm": b"1"})
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"1", b"2"))
    spelled = f'[["a/c.dcm","{one}"],["b.dcm","{two}"]]'
    assert digest_of_slide(folder) == hashlib.sha256(spelled.encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {"a.dcm": b"1", "b.dcm": b"3"},
        {"a.dcm": b"1", "c.dcm": b"2"},
        {"a.dcm": b"1"},
        {"a.dcm": b"1", "b.dcm": b"2", "c.dcm": b""},
        {"a.dcm": b"2", "b.dcm": b"1"},
    ],
    ids=["content", "name", "fewer", "more", "swapped"],
)
def test_any_other_folder_has_another_digest(tmp_path: Path, other: dict[str, bytes]) -> None:
    first = _folder(tmp_path / "first", {"a.dcm": b"1", "b.dcm": b"2"})
    assert digest_of_slide(first) != digest_of_slide(_folder(tmp_path / "other", other))


MRXS = {"s.mrxs": b"1", "s/Slidedat.ini": b"2", "s/Data0000.dat": b"3"}


def test_an_mrxs_has_the_digest_of_all_its_files_wherever_it_is_named_from(tmp_path: Path) -> None:
    """Its pixels lie in the folder beside it; other slides there do not matter."""
    alone = _folder(tmp_path / "alone", MRXS)
    among = _folder(tmp_path / "among", {**MRXS, "t.mrxs": b"4", "t/Data0000.dat": b"5"})
    found = {digest_of_slide(path) for path in (alone, alone / "s.mrxs", among / "s.mrxs")}
    assert len(found) == 1
    (among / "s" / "Data0000.dat").write_bytes(b"9")
    assert digest_of_slide(among / "s.mrxs") not in found


def test_hashing_can_be_stopped_between_chunks(tmp_path: Path) -> None:
    path, calls = tmp_path / "file", []
    path.write_bytes(bytes(10 * CHUNK_BYTES))

    def third_time() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        digest_of_slide(path, third_time)
    assert len(calls) == 3


def endless(path: Path) -> Path:
    """64 GiB of nothing: a minute of hashing."""
    path.touch()
    os.truncate(path, 64 << 30)
    return path


def test_a_digest_beside_work_that_ends_early_is_given_up(tmp_path: Path) -> None:
    path, began = endless(tmp_path / "slide"), time.monotonic()
    with pytest.raises(ZeroDivisionError), digest_beside(path, None) as digest:
        raise ZeroDivisionError
    assert time.monotonic() - began < 5
    assert digest.exception() is not None


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("a", None, hashlib.sha256(b"1").hexdigest()),
        ("a", "5" * 64, "5" * 64),
        ("absent", None, ""),
    ],
)
def test_a_digest_beside_is_the_known_one_or_the_slide_s(
    tmp_path: Path, name: str, known: str | None, found: str
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    with digest_beside(tmp_path / name, known) as digest:
        assert digest.result() == found
