"""Timm's weights: from a file that the user has, or from where timm keeps them."""

import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

from torch import nn

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.backbones import TIMM
from deepsmile_training.encoders.lite import STEM, timm_names
from deepsmile_training.encoders.weights import State, read_weights


def downloaded_state(name: str) -> State:
    """The tensors that timm fetches for a backbone of that name.

    Raises:
        RequestInvalid: there are none, or they cannot be reached.
    """
    import timm

    try:
        whole: Any = timm.create_model(name.removeprefix(TIMM), pretrained=True, num_classes=0)
    except (URLError, OSError, RuntimeError) as error:
        raise RequestInvalid(
            f"the weights of {name} cannot be had: {error}",
            hint="Fetch them on a machine that is online, and give the file's path instead.",
        ) from error
    state: State = whole.state_dict()
    return state


def state_of_file(path: Path, module: nn.Module) -> State:
    """A file's tensors in the names of `module`, timm's, without the classifier.

    Raises:
        RequestInvalid: the file cannot be read safely.
    """
    state = _tensors(path)
    if STEM in state:
        return timm_names(state, module)
    # Many models of timm come with a function for files that others saved.
    tidy = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    state = tidy(state, module) if tidy else state
    dropped = tuple(f"{head}." for head in _classifiers(module))
    return {key: value for key, value in state.items() if not key.startswith(dropped)}


def _tensors(path: Path) -> State:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise RequestInvalid(f"{path.name} is damaged: {error}") from error
    content = read_weights(path)
    state: State = content.get("state_dict", content)
    return state


def _classifiers(module: Any) -> tuple[str, ...]:  # noqa: ANN401 - timm's, without types
    named = module.pretrained_cfg.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)
