"""Weights: files of tensors, written whole, read without running code, checked, fitted whole."""

import hashlib
import io
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepsmile.digest import digest_of, digest_of_file
from deepsmile.disk import needing_room, replacing
from deepsmile.errors import RequestInvalid

SHOWN = 5
"""How many keys a complaint names."""
COUNTER = "num_batches_tracked"
"""Batches that a batch norm has seen: no weight, and absent from older files."""

DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    struct.error,
    TypeError,
    AttributeError,
    AssertionError,
)
"""What torch.load raises of bytes that nobody wrote as weights; found by trying thousands."""

State = dict[str, Tensor]


def check_digest(path: Path, expected: Sequence[str]) -> str:
    """The file's SHA-256, which is one of `expected` or begins with one; none: any will do.

    Raises:
        RequestInvalid: no such file, or another digest; both are told.
    """
    if not path.is_file():
        raise RequestInvalid(f"{path}: no such file", hint="Check the path of the weights.")
    found = digest_of_file(path)
    if expected and not found.startswith(tuple(expected)):
        raise RequestInvalid(
            f"{path.name}: SHA-256 is {found}, expected is {' or '.join(expected)}",
            hint="It is another file, or a damaged copy: fetch it again from its source.",
        )
    return found


def write_weights(content: dict[str, Any], path: Path) -> None:
    """What `read_weights` reads, whole or not at all; what was there stays until then.

    Raises:
        StorageFull
    """
    buffer = io.BytesIO()  # of a full disk torch.save tells nothing that could be recognised
    torch.save(content, buffer)
    full = f"no room for {path} of {buffer.tell() / 1e6:.0f} MB"
    with needing_room(full, hint="Free space, then try again."), replacing(path) as file:
        file.write(buffer.getbuffer())


def read_weights(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote, tensors and plain values only.

    Raises:
        RequestInvalid: no such file, it is damaged, or it holds objects that would run code.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RequestInvalid(f"{path}: no such file") from error
    except DAMAGED as error:
        raise RequestInvalid(
            f"{path.name}: no file of weights that can be read safely: {error}",
            hint="Where you trust the file, save its tensors alone again, and give that file.",
        ) from error
    if not isinstance(content, dict):
        raise RequestInvalid(f"{path.name} holds a {type(content).__name__}, no named tensors")
    return content


def digest_of_weights(module: nn.Module) -> str:
    """SHA-256 (hex) of all tensors: their names, types, shapes and bytes."""
    state = {key: tensor.numpy(force=True) for key, tensor in module.state_dict().items()}
    return digest_of(
        [
            [key, array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
            for key, array in sorted(state.items())
        ]
    )


def fit(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load `state` into `module`, every tensor and no other; `what` names both in complaints.

    Raises:
        RequestInvalid: keys are missing, unknown or of another shape; they are named.
    """
    wanted = module.state_dict()
    shared = wanted.keys() & state.keys()
    complaints = {
        "missing": [key for key in wanted if key not in state and not key.endswith(COUNTER)],
        "unknown": [key for key in state if key not in wanted],
        "of another shape": sorted(k for k in shared if wanted[k].shape != state[k].shape),
    }
    said = [f"{len(keys)} keys {how} ({_some(keys)})" for how, keys in complaints.items() if keys]
    if said:
        raise RequestInvalid(
            f"{what}: {'; '.join(said)}",
            hint="The weights are of another backbone, or of a part of it.",
        )
    module.load_state_dict({**wanted, **state})


def _some(keys: Sequence[str]) -> str:
    more = ", ..." if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more
