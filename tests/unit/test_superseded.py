"""Superseded bundles: a new version leaves the former one for the jobs accepted for it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepsmile.bundle import Bundle, bundle_names, load_superseded, write_bundle, write_sealed
from deepsmile.errors import BundleCorrupt, BundleMismatch, BundleUnknown
from deepsmile.shelf import Shelf
from tests.making import make_bundle


def publish(repository: Path, version: str, **changes: Any) -> Bundle:
    """The bundle "tiny" again, as another version."""
    content = json.loads((repository / "tiny.bundle.json").read_text())
    del content["digest"]
    return write_bundle(repository, {**content, "version": version, **changes})


@pytest.fixture
def first(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)


def test_each_version_is_found_by_its_digest(first: Bundle) -> None:
    second = publish(first.root, "2", notice="Second.")
    third = publish(first.root, "3", notice="Third.")
    shelf = Shelf(first.root)
    for bundle in (first, second, third):
        assert shelf.find("tiny", bundle.digest) == bundle
    assert shelf.get("tiny") == third
    kept = sorted(path.name for path in first.root.glob("tiny@*.bundle.json"))
    assert kept == ["tiny@1.bundle.json", "tiny@2.bundle.json"]


def test_superseded_bundles_are_not_offered(first: Bundle) -> None:
    publish(first.root, "2")
    assert bundle_names(first.root) == ["tiny"]
    with pytest.raises(BundleUnknown):
        Shelf(first.root).get("tiny@1")


def test_the_same_version_again_replaces_the_former(first: Bundle) -> None:
    publish(first.root, "1", notice="Corrected.")
    assert list(first.root.glob("tiny@*")) == []
    with pytest.raises(BundleMismatch, match="was replaced after the job was accepted"):
        Shelf(first.root).find("tiny", first.digest)


def test_a_superseded_bundle_needs_its_models_but_not_its_card(first: Bundle) -> None:
    """The successor's card has the same name."""
    publish(first.root, "2")
    (first.root / "tiny.card.md").write_text("# Another card\n")
    assert load_superseded(first.root, "tiny", first.digest).digest == first.digest
    (first.root / "tiny_head/1/model.onnx").unlink()
    with pytest.raises(BundleCorrupt, match=r"tiny@1.bundle.json: tiny_head/1/model.onnx is mis"):
        load_superseded(first.root, "tiny", first.digest)


def test_a_superseded_bundle_is_found_beside_one_that_was_damaged(first: Bundle) -> None:
    second = publish(first.root, "2", notice="Second.")
    publish(first.root, "3")
    (first.root / "tiny@1.bundle.json").write_text("{")
    assert load_superseded(first.root, "tiny", second.digest) == second


def withdraw(file: Path) -> None:
    file.unlink()


def write_half(file: Path) -> None:
    file.write_text(file.read_text()[:100])


def lose_a_model(file: Path) -> None:
    """One that the former bundle has no need of."""
    content = json.loads(file.read_text())
    del content["digest"]
    content["files"]["tiny_head/2/model.onnx"] = "0" * 64
    write_sealed(file, content)


@pytest.mark.parametrize("harm", [withdraw, write_half, lose_a_model])
def test_a_superseded_bundle_stands_whatever_becomes_of_its_successor(
    first: Bundle, harm: Callable[[Path], None]
) -> None:
    second = publish(first.root, "2", notice="Second.")
    shelf = Shelf(first.root)
    harm(first.root / "tiny.bundle.json")
    assert shelf.find("tiny", first.digest) == first
    with pytest.raises((BundleUnknown, BundleCorrupt)) as of_the_current:
        shelf.get("tiny")
    with pytest.raises(type(of_the_current.value), match=re.escape(of_the_current.value.detail)):
        shelf.find("tiny", second.digest)


def test_a_superseded_bundle_that_was_changed_is_refused(first: Bundle) -> None:
    publish(first.root, "2")
    kept = first.root / "tiny@1.bundle.json"
    kept.write_text(kept.read_text().replace("no meaning", "fit for diagnosis"))
    with pytest.raises(BundleCorrupt):
        load_superseded(first.root, "tiny", first.digest)


def test_another_bundle_s_versions_are_not_mistaken_for_it(first: Bundle) -> None:
    """A digest says it all, but a name has a meaning too."""
    publish(first.root, "2")
    (first.root / "tiny@1.bundle.json").rename(first.root / "other@1.bundle.json")
    with pytest.raises(BundleMismatch):
        load_superseded(first.root, "other", first.digest)


def test_a_corrupt_bundle_is_published_over_and_not_kept(first: Bundle) -> None:
    (first.root / "tiny.bundle.json").write_text("{}")
    again = make_bundle(first.root, min_tiles=3)
    assert Shelf(first.root).get("tiny").digest == again.digest
    assert list(first.root.glob("tiny@*")) == []
