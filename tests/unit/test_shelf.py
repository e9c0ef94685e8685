"""Bundles kept loaded: verified once, and again when they change."""

import json
from pathlib import Path

import pytest

from deepsmile.errors import BundleCorrupt, BundleUnknown
from deepsmile.shelf import Shelf
from tests.making import make_bundle


def test_a_bundle_is_loaded_once(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    shelf = Shelf(tmp_path)
    assert shelf.get("tiny") is shelf.get("tiny")
    assert shelf.names() == ["tiny"]


def test_a_replaced_bundle_is_loaded_again(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    shelf = Shelf(tmp_path)
    old = shelf.get("tiny")
    make_bundle(tmp_path, min_tiles=3)
    assert shelf.get("tiny").digest != old.digest


def test_a_bundle_changed_by_hand_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    shelf = Shelf(tmp_path)
    shelf.get("tiny")
    file = tmp_path / "tiny.bundle.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "notice": "Fit for diagnosis."}))
    with pytest.raises(BundleCorrupt):
        shelf.get("tiny")


@pytest.mark.parametrize("name", ["", "nope", "../tiny", "tiny/", "a\0b", "x" * 5000])
def test_an_unknown_name_is_unknown(tmp_path: Path, name: str) -> None:
    make_bundle(tmp_path)
    with pytest.raises(BundleUnknown):
        Shelf(tmp_path).get(name)


def test_a_bundle_that_was_removed_is_unknown(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    shelf = Shelf(tmp_path)
    shelf.get("tiny")
    (tmp_path / "tiny.bundle.json").unlink()
    with pytest.raises(BundleUnknown):
        shelf.get("tiny")
