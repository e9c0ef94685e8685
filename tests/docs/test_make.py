"""The Makefile: what its targets leave behind, and what they put in."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(folder: Path, *arguments: str) -> str:
    command = ["make", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cleaning_keeps_the_slides_that_were_accepted(tmp_path: Path) -> None:
    """`deepsmile-data` is where the service keeps them unless it is told otherwise."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    slide = tmp_path / "deepsmile-data" / "uploads" / "slide.svs"
    compiled = tmp_path / "services" / "deepsmile" / "__pycache__" / "grid.pyc"
    for file in (slide, compiled, tmp_path / ".venv" / "serving"):
        file.parent.mkdir(parents=True)
        file.touch()
    for folder in ("training", "tests", "benchmarks"):
        (tmp_path / folder).mkdir()
    make(tmp_path, "clean")
    assert slide.exists()
    assert (tmp_path / "services" / "deepsmile").is_dir()
    assert not compiled.parent.exists()
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("target", ["demo", "test", "check", "openapi", "triton", "clean"])
def test_no_target_touches_the_data(target: str) -> None:
    assert "deepsmile-data" not in make(ROOT, "--always-make", "--dry-run", target)


def test_a_triton_server_comes_with_its_client() -> None:
    """As `make demo` left it there is none, and `deepsmile up --triton` asks through it."""
    steps = make(ROOT, "--always-make", "--dry-run", "triton").splitlines()
    assert any("-e '.[cpu,triton]'" in step for step in steps)
    assert any("--target .venv/triton" in step for step in steps)
