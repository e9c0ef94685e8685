"""Bundle: verified byte for byte before use."""

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from deepsmile.bundle import Bundle, bundle_names, load_bundle, write_bundle
from deepsmile.digest import digest_of, digest_of_file
from deepsmile.errors import BundleCorrupt, BundleUnknown
from tests.making import make_bundle

FILES = [
    "tiny_encoder/1/model.onnx",
    "tiny_head/1/model.onnx",
    "tiny.card.md",
    "tiny.bundle.json",
]


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Path:
    """A repository of one's own with the bundle "tiny", to be damaged."""
    return Path(shutil.copytree(bundle.root, tmp_path / "repository"))


def content_of(repository: Path) -> dict[str, Any]:
    """`tiny.bundle.json` without its digest."""
    content: dict[str, Any] = json.loads((repository / "tiny.bundle.json").read_text())
    del content["digest"]
    return content


def seal(repository: Path, content: Any, name: str = "tiny") -> None:
    """Write a bundle's JSON with the digest that fits it."""
    sealed = {**content, "digest": digest_of(content)}
    (repository / f"{name}.bundle.json").write_text(json.dumps(sealed))


def test_a_bundle_gives_back_what_was_sealed(bundle: Bundle) -> None:
    again = load_bundle(bundle.root, "tiny")
    assert again == bundle
    assert again.digest == digest_of(content_of(bundle.root))
    assert again.encoder_path == bundle.root / FILES[0]
    assert again.head_path(again.contract.heads[0]) == bundle.root / FILES[1]
    assert again.card().startswith("# Tiny test bundle")


@pytest.mark.parametrize("file", FILES)
def test_one_flipped_bit_anywhere_in_a_file_is_noticed(copied: Path, file: str) -> None:
    """HOUSE STYLE 10: every byte counts, the bundle's own included."""
    path = copied / file
    original = path.read_bytes()
    for place in {0, len(original) - 1, *range(7, len(original), max(len(original) // 60, 1))}:
        flipped = bytearray(original)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(BundleCorrupt):
            load_bundle(copied, "tiny")
    path.write_bytes(original)
    assert load_bundle(copied, "tiny").name == "tiny"


@pytest.mark.parametrize("file", FILES[:3])
def test_a_missing_file_is_named(copied: Path, file: str) -> None:
    (copied / file).unlink()
    with pytest.raises(BundleCorrupt, match=f"{file} is missing"):
        load_bundle(copied, "tiny")


@pytest.mark.parametrize("file", FILES[:3])
def test_a_file_of_another_length_is_noticed(copied: Path, file: str) -> None:
    with (copied / file).open("ab") as more:
        more.write(b"\n")
    with pytest.raises(BundleCorrupt, match="SHA-256 is"):
        load_bundle(copied, "tiny")


@pytest.mark.parametrize("outside", ["../secret", "/etc/passwd", "a/../../secret", ".."])
def test_a_path_that_leaves_the_repository_is_refused(copied: Path, outside: str) -> None:
    """Even when its digest is right."""
    (copied.parent / "secret").write_text("x")
    content = content_of(copied)
    content["files"][outside] = digest_of_file(copied.parent / "secret")
    seal(copied, content)
    with pytest.raises(BundleCorrupt, match="outside the repository"):
        load_bundle(copied, "tiny")


@pytest.mark.parametrize("name", ["tinier", "", "../tiny", "tiny.bundle.json", "*", "tiny\0"])
def test_an_unknown_name_is_answered_with_the_known_ones(bundle: Bundle, name: str) -> None:
    with pytest.raises(BundleUnknown, match="this repository has: tiny"):
        load_bundle(bundle.root, name)


def test_an_empty_or_absent_repository_has_no_bundles(tmp_path: Path) -> None:
    assert bundle_names(tmp_path) == bundle_names(tmp_path / "absent") == []
    with pytest.raises(BundleUnknown, match="this repository has: none"):
        load_bundle(tmp_path, "tiny")


def test_a_renamed_bundle_is_refused(copied: Path) -> None:
    """Else a report would name a bundle that `replay` cannot find, or finds to be another."""
    (copied / "tiny.bundle.json").rename(copied / "approved.bundle.json")
    with pytest.raises(BundleCorrupt, match="holds a bundle named 'tiny'"):
        load_bundle(copied, "approved")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[1]", "null", "7", '"x"', "{}", '{"digest": 7}', '{"a": NaN, "digest": "0"}'],
)
def test_json_that_is_no_bundle_is_corrupt(copied: Path, text: str) -> None:
    (copied / "tiny.bundle.json").write_text(text)
    with pytest.raises(BundleCorrupt):
        load_bundle(copied, "tiny")


def test_bytes_that_are_no_text_are_corrupt(copied: Path) -> None:
    (copied / "tiny.bundle.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleCorrupt):
        load_bundle(copied, "tiny")


@pytest.mark.parametrize(
    ("field", "value"),
    [("format", "deepsmile-bundle/2"), ("version", ""), ("name", "../tiny"), ("spare", 1)],
)
def test_a_well_sealed_bundle_must_still_make_sense(copied: Path, field: str, value: Any) -> None:
    seal(copied, {**content_of(copied), field: value})
    with pytest.raises(BundleCorrupt, match=field):
        load_bundle(copied, "tiny")


@pytest.mark.parametrize("file", FILES[:3])
def test_the_contract_and_the_card_must_be_among_the_files(copied: Path, file: str) -> None:
    """A model named by the contract that no listed file holds."""
    content = content_of(copied)
    del content["files"][file]
    seal(copied, content)
    with pytest.raises(BundleCorrupt, match="no file for"):
        load_bundle(copied, "tiny")


def test_two_heads_each_have_their_own_model(copied: Path) -> None:
    """One pass over the tiles serves both."""
    content = content_of(copied)
    second = make_bundle(copied, "other", members=3)
    head = second.contract.heads[0].model_dump(mode="json")
    content["contract"]["heads"].append({**head, "name": "paleness"})
    content["files"] |= {"other_head/1/model.onnx": head["sha256"]}
    loaded = write_bundle(copied, content)
    paths = [loaded.head_path(head) for head in loaded.contract.heads]
    assert paths == [copied / "tiny_head/1/model.onnx", copied / "other_head/1/model.onnx"]


def test_bundles_share_an_encoder(copied: Path) -> None:
    """docs/decisions.md: models are stored once; two bundles name the same file."""
    content = content_of(copied)
    second = write_bundle(copied, {**content, "name": "second", "notice": "Another."})
    first = load_bundle(copied, "tiny")
    assert first.encoder_path == second.encoder_path
    assert first.contract.features.digest == second.contract.features.digest
    assert first.digest != second.digest
    assert bundle_names(copied) == ["second", "tiny"]


def test_writing_a_bundle_that_does_not_verify_says_so(copied: Path) -> None:
    content = content_of(copied)
    content["files"]["tiny.card.md"] = "0" * 64
    with pytest.raises(BundleCorrupt, match=r"tiny\.card\.md"):
        write_bundle(copied, content)


def test_writing_leaves_nothing_else_behind(copied: Path) -> None:
    before = {path.name for path in copied.iterdir()}
    write_bundle(copied, content_of(copied))
    assert {path.name for path in copied.iterdir()} == before


def test_a_bundle_that_cannot_be_written_leaves_the_old_one(copied: Path) -> None:
    before = (copied / "tiny.bundle.json").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_bundle(copied, {**content_of(copied), "notice": "Another."})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (copied / "tiny.bundle.json").read_bytes() == before
    assert sorted(path.name for path in copied.glob("*partial*")) == []
