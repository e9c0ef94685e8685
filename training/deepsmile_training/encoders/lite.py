"""Lite: EfficientNet-Lite weights in the names of their first port to torch, for timm's model.

These are TensorFlow's weights (ImageNet, Apache-2.0), so the backbone is `tf_efficientnet_lite0`,
whose convolutions pad as TensorFlow's do.
"""

from torch import nn

from deepsmile_training.encoders.weights import State

STEM = "_conv_stem.weight"
"""Only in files of that port."""
TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
WITHOUT_EXPANSION = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
WITH_EXPANSION = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def timm_names(state: State, module: nn.Module) -> State:
    """`state` in the names of `module`, timm's EfficientNet; the classifier is left out."""
    stages = module.get_submodule("blocks").children()
    sizes = [len(list(stage.children())) for stage in stages]
    places = [f"blocks.{s}.{b}" for s, size in enumerate(sizes) for b in range(size)]
    return {
        _timm_name(key, places, state): value
        for key, value in state.items()
        if not key.startswith("_fc.")
    }


def _timm_name(key: str, places: list[str], state: State) -> str:
    parts = key.split(".")
    if parts[0] != "_blocks":
        return ".".join([TOP.get(parts[0], parts[0]), *parts[1:]])
    number, layer, *rest = parts[1:]
    is_expanded = f"_blocks.{number}._expand_conv.weight" in state
    layers = WITH_EXPANSION if is_expanded else WITHOUT_EXPANSION
    return ".".join([places[int(number)], layers.get(layer, layer), *rest])
