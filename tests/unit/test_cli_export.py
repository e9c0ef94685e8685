"""`deepsmile export`."""

import shutil
from pathlib import Path

from tests.shell import OK, USAGE, Run


def test_it_writes_and_names_the_configurations(run: Run, repository: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(repository, tmp_path / "copied"))
    code, out, _ = run("export", "--target", "cpu", "--repository", copied)
    assert code == OK
    encoder, head = copied / "tiny_encoder/config.pbtxt", copied / "tiny_head/config.pbtxt"
    assert out.splitlines() == [str(encoder), str(head)]
    assert "KIND_CPU" in encoder.read_text()


def test_an_unknown_target_is_a_usage_error(run: Run) -> None:
    code, _, err = run("export", "--target", "abacus")
    assert code == USAGE
    assert "tensorrt" in err
