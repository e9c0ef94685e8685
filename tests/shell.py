"""What a shell knows of the command: its exit codes and its two streams."""

from collections.abc import Callable

OK, ERROR, USAGE, ABSTAINED, DIFFERENT = 0, 1, 2, 3, 4
Run = Callable[..., tuple[int, str, str]]
"""Arguments -> (exit code, stdout, stderr)."""
