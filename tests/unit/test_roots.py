"""Paths in requests: inside the allowed roots, links and dots followed, or not at all."""

import os
from pathlib import Path

import pytest

from deepsmile.errors import PathNotAllowed, RequestInvalid, SlideNotFound
from deepsmile.roots import identity_of, resolve_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a slide, beside a folder that is none."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "slide.svs").write_bytes(b"s")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.svs").write_bytes(b"s")
    return root


def test_a_slide_under_a_root_is_found_by_its_real_path(root: Path) -> None:
    assert resolve_path(f"{root}/sub/../slide.svs", [root]) == root / "slide.svs"
    (root / "link.svs").symlink_to(root / "slide.svs")
    assert resolve_path(f"{root}/link.svs", [root]) == root / "slide.svs"


def test_a_folder_may_be_a_slide(root: Path) -> None:
    assert resolve_path(f"{root}/sub", [root]) == root / "sub"


def test_a_root_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert resolve_path(f"{tmp_path}/alias/slide.svs", [tmp_path / "alias"]) == root / "slide.svs"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{root}/../outside/secret.svs",
        "{root}/sub/../../outside/secret.svs",
        "{root}-not/slide.svs",
        "{root}/../root-not-there/x.svs",
        "/{root}/../../../../../../etc/passwd",
    ],
)
def test_what_lies_outside_is_refused_whether_it_exists_or_not(root: Path, path: str) -> None:
    with pytest.raises(PathNotAllowed) as caught:
        resolve_path(path.format(root=root), [root])
    assert "outside" in caught.value.detail
    assert str(root) not in caught.value.detail


def test_a_link_to_the_outside_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "evil.svs").symlink_to(tmp_path / "outside" / "secret.svs")
    (root / "evil").symlink_to(tmp_path / "outside")
    for path in (root / "evil.svs", root / "evil" / "secret.svs"):
        with pytest.raises(PathNotAllowed):
            resolve_path(str(path), [root])


def test_links_in_a_circle_are_refused(root: Path) -> None:
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")
    with pytest.raises((PathNotAllowed, SlideNotFound)):
        resolve_path(f"{root}/a", [root])


def test_without_roots_no_path_is_allowed(root: Path) -> None:
    with pytest.raises(PathNotAllowed):
        resolve_path(f"{root}/slide.svs", [])


@pytest.mark.parametrize("path", ["slide.svs", "./slide.svs", "", "/a\0b"])
def test_what_is_no_absolute_path_is_invalid(root: Path, path: str) -> None:
    with pytest.raises(RequestInvalid):
        resolve_path(path, [root])


def test_a_missing_file_inside_is_not_found_and_not_named(root: Path) -> None:
    with pytest.raises(SlideNotFound) as caught:
        resolve_path(f"{root}/JANE_DOE.svs", [root])
    assert "JANE" not in caught.value.detail


def test_a_name_too_long_is_no_fault_of_ours(root: Path) -> None:
    with pytest.raises((PathNotAllowed, SlideNotFound)):
        resolve_path(f"{root}/{'x' * 3000}", [root])


def test_a_changed_file_has_another_identity(root: Path) -> None:
    slide = root / "slide.svs"
    before = identity_of(slide)
    assert identity_of(slide) == before
    slide.write_bytes(b"other")
    assert identity_of(slide) != before
    changed = identity_of(slide)
    os.utime(slide, ns=(1, 1))
    assert identity_of(slide) != changed


def test_a_whole_root_is_no_slide(root: Path, tmp_path: Path) -> None:
    """To compare it, every byte of a drive would be read."""
    (tmp_path / "alias").symlink_to(root)
    for path in (root, root / "sub" / "..", tmp_path / "alias"):
        with pytest.raises(PathNotAllowed, match="allowed root itself"):
            resolve_path(str(path), [tmp_path / "alias"])
