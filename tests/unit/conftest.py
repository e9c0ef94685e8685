"""Fixtures of the unit tests: the command line as a shell would start it."""

from pathlib import Path

import pytest

from tests.making import tissue_image, write_svs
from tests.shell import Run, command_of


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
    return command_of(monkeypatch, capsys)


@pytest.fixture(scope="session")
def empty_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bare glass."""
    image = tissue_image(1100, 1100, tissue=0)
    return write_svs(tmp_path_factory.mktemp("empty") / "slide.svs", image)
