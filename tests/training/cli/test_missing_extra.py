"""`deepsmile-train` where the extra for training is not, or not all, installed."""

import subprocess
import sys

import pytest

HIDDEN = """
import sys
sys.argv, sys.modules["{package}"] = ["deepsmile-train", *{arguments!r}], None
from deepsmile_training.cli.main import app
app()
"""


def without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of the command where `package` cannot be imported."""
    code = HIDDEN.format(package=package, arguments=arguments)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("torch", "demo-bundle"),
        ("pandas", "cohort generic labels.csv --label status=a,b --out cohort.json"),
    ],
)
def test_a_missing_package_is_told_with_the_extra_that_has_it(package: str, command: str) -> None:
    done = without(package, *command.split())
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"backend_missing: {package} is not installed",
        "Install the extra for training: pip install 'deepsmile[train]'.",
    ]


def test_help_needs_no_extra() -> None:
    done = without("torch", "pretrain", "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_a_missing_module_of_ours_is_no_missing_package() -> None:
    done = without("deepsmile_training.demo.bundle", "demo-bundle")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: ")
