"""Room: what to do about a disk that is full, in pre-training."""

from functools import partial

from deepsmile import disk

AGAIN = "Free space, then give the same command: it goes on from the last checkpoint."
needing_room = partial(disk.needing_room, hint=AGAIN)
"""Of a block or a function; told what to say when there is none."""
