"""What a shell knows of the command: its exit codes and its two streams."""

import sys
from collections.abc import Callable

import pytest

from deepsmile.cli import main

OK, ERROR, USAGE, ABSTAINED, DIFFERENT = 0, 1, 2, 3, 4
Run = Callable[..., tuple[int, str, str]]
"""Arguments -> (exit code, stdout, stderr)."""


def command_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`deepsmile` as a shell would start it, wide enough for every table."""
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["deepsmile", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main.app()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return command
