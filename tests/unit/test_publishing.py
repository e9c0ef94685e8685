"""Publishing: rolled out and back, every bundle stays whole and is found by those who need it."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from deepsmile.bundle import Bundle, load_bundle, write_bundle
from deepsmile.digest import digest_of_file
from deepsmile.errors import BundleCorrupt, BundleMismatch, RequestInvalid
from deepsmile.publishing import publish
from deepsmile.shelf import Shelf
from deepsmile.triton.config import digest_parameter
from deepsmile_training.publishing import publish as publish_from_training
from tests.making import make_bundle
from tests.shell import ERROR, OK, Run
from tests.triton.test_proof import scale


def make_second(
    root: Path, version: str = "2", head: str = "tiny_head/2", members: int = 2
) -> Bundle:
    """The bundle "tiny" again: the same encoder, another head, a card of its own."""
    made = make_bundle(root, members=members)
    model = root / head / "model.onnx"
    model.parent.mkdir(exist_ok=True)
    (root / "tiny_head/1/model.onnx").rename(model)
    scale(model, "weights", 3.0)
    (root / "tiny.card.md").write_text(f"# The tiny bundle {version}\r\n")
    content = json.loads((root / "tiny.bundle.json").read_text())
    del content["digest"]
    content["contract"]["heads"][0]["sha256"] = digest_of_file(model)
    places = ("tiny_encoder/1/model.onnx", f"{head}/model.onnx", "tiny.card.md")
    files = {place: digest_of_file(root / place) for place in places}
    return write_bundle(made.root, {**content, "version": version, "files": files})


@pytest.fixture
def first(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "served")


@pytest.fixture
def second(tmp_path: Path) -> Bundle:
    """In the repository of a machine that trains."""
    return make_second(tmp_path / "training")


def file_of(bundle: Bundle) -> Path:
    return bundle.root / f"{bundle.name}.bundle.json"


def test_a_bundle_of_another_repository_becomes_the_current_one(
    first: Bundle, second: Bundle
) -> None:
    """Its models come along, but for those that are there; servers are told of all."""
    encoder = first.encoder_path.stat()
    published = publish(file_of(second), first.root)
    assert (published.root, published.file) == (first.root, second.file)
    assert load_bundle(first.root, "tiny").card() == "# The tiny bundle 2\r\n"
    assert first.encoder_path.stat() == encoder
    config = (first.root / "tiny_head/config.pbtxt").read_text()
    assert all(digest_parameter(version) in config for version in "12")
    assert list(first.root.rglob("*partial*")) == []


def test_both_ways_the_jobs_of_each_find_their_bundle(first: Bundle, second: Bundle) -> None:
    """One shelf, as a worker keeps it, all along."""
    root, shelf = first.root, Shelf(first.root)

    def expect(current: Bundle) -> None:
        assert shelf.get("tiny").file == current.file
        assert load_bundle(root, "tiny").card() == current.card()
        for bundle in (first, second):
            assert shelf.find("tiny", bundle.digest).file == bundle.file
            assert Shelf(root).find("tiny", bundle.digest).file == bundle.file

    publish(file_of(second), root)
    shutil.rmtree(second.root / "tiny_head")
    second = load_bundle(root, "tiny")
    expect(second)
    for version, current in (("1", first), ("2", second), ("1", first)):
        publish(root / f"tiny@{version}.bundle.json", root)
        current = load_bundle(root, "tiny") if version == "1" else current
        expect(current)
    assert first.card().startswith("# Tiny test bundle")


def test_what_training_publishes_can_be_rolled_back(first: Bundle, second: Bundle) -> None:
    """Its card lies where the former's lay."""
    former = first.card()
    publish_from_training(second, first.root, "# Tested\n", {})
    assert load_bundle(first.root, "tiny").card() == "# Tested\n"
    back = publish(first.root / "tiny@1.bundle.json", first.root)
    assert (back.file, back.card()) == (first.file, former)
    assert (first.root / "tiny@2.card.md").read_text() == "# Tested\n"


def test_there_is_always_a_whole_bundle(first: Bundle, second: Bundle) -> None:
    """Readers that know nothing yet look as fast as they can, from before the first publication."""
    root, over = first.root, Event()

    def look() -> set[str]:
        found = set()
        while not over.is_set():
            found.add(load_bundle(root, "tiny").file.version)
        return found

    with ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        try:
            publish(file_of(second), root)
            for version in "12" * 10:
                publish(root / f"tiny@{version}.bundle.json", root)
        finally:
            over.set()
        assert set.union(*(one.result() for one in looking)) == {"1", "2"}


def test_a_repository_that_is_not_there_yet_is_made(second: Bundle, tmp_path: Path) -> None:
    published = publish(file_of(second), tmp_path / "new")
    assert published.card() == second.card()


def test_the_current_bundle_again_changes_nothing(first: Bundle) -> None:
    before = file_of(first).stat().st_ino
    publish(file_of(first), first.root)
    assert file_of(first).stat().st_ino == before
    assert list(first.root.glob("tiny@*")) == []


@pytest.mark.parametrize("place", ["tiny_head/2/model.onnx", "tiny.card.md"])
def test_a_bundle_that_is_not_whole_is_not_published(
    first: Bundle, second: Bundle, place: str
) -> None:
    (second.root / place).write_bytes(b"damaged")
    before = sorted(first.root.rglob("*"))
    with pytest.raises(BundleCorrupt, match=place):
        publish(file_of(second), first.root)
    assert sorted(first.root.rglob("*")) == before


def test_a_model_that_is_served_is_never_overwritten(first: Bundle, tmp_path: Path) -> None:
    other = make_second(tmp_path / "training", head="tiny_head/1")
    with pytest.raises(RequestInvalid, match=r"tiny_head/1/model.onnx is there already"):
        publish(file_of(other), first.root)
    assert load_bundle(first.root, "tiny").file == first.file


def test_a_bundle_that_no_server_could_serve_beside_the_former_is_not_published(
    first: Bundle, tmp_path: Path
) -> None:
    other = make_second(tmp_path / "training", members=3)
    with pytest.raises(BundleMismatch, match="two bundles want tiny_head in different shapes"):
        publish(file_of(other), first.root)
    assert load_bundle(first.root, "tiny").file == first.file


def test_nor_is_a_bundle_of_the_same_version(first: Bundle, tmp_path: Path) -> None:
    """The jobs that were accepted for it could not be scored."""
    other = make_second(tmp_path / "training", version="1")
    with pytest.raises(RequestInvalid, match="tiny 1 is there already, and is another bundle"):
        publish(file_of(other), first.root)
    publish(file_of(make_second(tmp_path / "better")), first.root)
    with pytest.raises(RequestInvalid, match="tiny 1 is there already, and is another bundle"):
        publish(file_of(other), first.root)


def test_a_damaged_current_bundle_is_no_obstacle(first: Bundle, second: Bundle) -> None:
    publish(file_of(second), first.root)
    file_of(first).write_text("{")
    assert publish(first.root / "tiny@1.bundle.json", first.root).file == first.file


def test_the_command_says_what_is_current(run: Run, first: Bundle, second: Bundle) -> None:
    told = run("publish", file_of(second), "--repository", first.root)
    assert told == (OK, f"tiny 2 is current (digest {second.digest[:16]})\n", "")
    code, out, _ = run("publish", first.root / "tiny@1.bundle.json", "--repository", first.root)
    assert (code, out) == (OK, f"tiny 1 is current (digest {first.digest[:16]})\n")
    (first.root / "tiny_head/2/model.onnx").unlink()
    code, out, err = run("publish", first.root / "tiny@2.bundle.json", "--repository", first.root)
    assert (code, out) == (ERROR, "")
    assert err.startswith("bundle_corrupt: tiny@2.bundle.json: tiny_head/2/model.onnx is missing")
