"""Stage: who is told that a part of a run begins, and how far it is."""

from collections.abc import Callable

Stage = Callable[[str, int], Callable[[], None]]
"""Told (what, how many) as a stage begins; gives what to call after each."""
