"""Fixtures of the unit tests: the command line as a shell would start it."""

import sys
from pathlib import Path

import pytest

from deepsmile.cli import main
from tests.making import tissue_image, write_svs
from tests.shell import Run


@pytest.fixture
def run(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """The command as a shell would start it: (exit code, stdout, stderr)."""
    monkeypatch.setenv("DEEPSMILE_MODEL_REPOSITORY", str(repository))
    monkeypatch.setenv("DEEPSMILE_DEFAULT_BUNDLE", "tiny")
    monkeypatch.setenv("DEEPSMILE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["deepsmile", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main.app()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return command


@pytest.fixture(scope="session")
def empty_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bare glass."""
    image = tissue_image(1100, 1100, tissue=0)
    return write_svs(tmp_path_factory.mktemp("empty") / "slide.svs", image)
