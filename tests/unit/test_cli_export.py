"""`deepsmile export`."""

import shutil
from pathlib import Path

import pytest

from tests.shell import ERROR, OK, USAGE, Run


def test_it_writes_and_names_the_configurations(run: Run, repository: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(repository, tmp_path / "copied"))
    code, out, _ = run("export", "--target", "cpu", "--repository", copied)
    assert code == OK
    encoder, head = copied / "tiny_encoder/config.pbtxt", copied / "tiny_head/config.pbtxt"
    assert out.splitlines() == [str(encoder), str(head)]
    assert "KIND_CPU" in encoder.read_text()


def test_without_a_target_it_stays(run: Run, repository: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(repository, tmp_path / "copied"))
    for asked, kind in (("", "KIND_AUTO"), ("cpu", "KIND_CPU"), ("", "KIND_CPU")):
        given = ("--target", asked) if asked else ()
        assert run("export", *given, "--repository", copied)[0] == OK
        assert kind in (copied / "tiny_encoder/config.pbtxt").read_text()


def test_an_unknown_target_is_a_usage_error(run: Run) -> None:
    code, _, err = run("export", "--target", "abacus")
    assert code == USAGE
    assert "tensorrt" in err


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_without_models_is_an_error(run: Run, tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = run("export", "--repository", tmp_path / folder)
    assert (code, out) == (ERROR, "")
    assert f"bundle_unknown: there is no bundle and no encoder in {tmp_path / folder}" in err
    assert "--repository" in err
