"""Every command and snippet of README and docs runs, on a slide that comes with the code."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepsmile.cli.demo import demo_slides
from deepsmile.settings import shipped_repository
from tests.docs.fences import blocks_of, commands_of
from tests.service import RunningService

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOLD_IN_ORDER = {"training.md"}
"""tests/docs/test_training_story.py runs these."""
PAGES = (
    ROOT / "README.md",
    *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name not in TOLD_IN_ORDER),
)
TEXT = "\n".join(page.read_text() for page in PAGES)
ELSEWHERE = {
    "make demo": "run by hand on a fresh clone",
    "make test": "this very run",
    "make check": "a part of this run, and the linters",
    "make openapi": "tests/api/test_openapi.py",
    "deepsmile up": "tests/e2e/test_up.py",
    "deepsmile up --triton": "tests/triton",
    "training/runs/demo_bundle.sh": "tests/training/test_demo.py, at smoke size",
}
"""Commands that something else runs."""


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with RunningService(shipped_repository(), default_bundle="demo") as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, service: RunningService) -> Path:
    """Where a reader of the README would stand."""
    place = tmp_path_factory.mktemp("readme")
    (place / "slide.svs").symlink_to(demo_slides()[0])
    (place / "SLIDE").symlink_to(demo_slides()[0])
    return place


def run(arguments: list[str], folder: Path, service: RunningService) -> str:
    """Run to the end, and give back what it said; the service is where the README says 8000."""
    ours = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, **ours, "DEEPSMILE_URL": service.url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_command_stands_before_line_15() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```sh") < 14


@pytest.mark.parametrize("command", [c for c in commands_of(TEXT) if c not in ELSEWHERE])
def test_a_command_runs(command: str, folder: Path, service: RunningService) -> None:
    here = command.replace("http://127.0.0.1:8000", service.url)
    assert run(["bash", "-euo", "pipefail", "-c", here], folder, service)


@pytest.mark.parametrize("snippet", blocks_of(TEXT, "python"))
def test_a_snippet_runs(snippet: str, folder: Path, service: RunningService) -> None:
    here = snippet.replace("http://127.0.0.1:8000", service.url)
    assert "probability" in run([sys.executable, "-c", here], folder, service)
