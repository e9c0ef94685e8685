"""Precision: an exported encoder once more, in int8 for CPUs or in fp16 for GPUs.

ONNX Runtime's own tools do the work. Tiles still come in as bytes and features leave as float32,
so a variant goes wherever its parent does; whether it may is for `gate` to say.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB

BATCH = 4
WEIGHERS = ("Conv", "Gemm", "MatMul")
"""What comes before the first of these only scales pixels."""
WEIGHT_BITS = (7, 8)
"""In the order they are tried: 7 give like features on every CPU, 8 do where nothing saturates."""
SPARED_BITS = 8
"""Last comes this with the first convolution in fp32: nearest to fp32, and half as fast again."""


def write_int8(
    encoder: Path, out: Path, tiles: RGB, weight_bits: int, *, spare_first: bool = False
) -> None:
    """Write `encoder` as `out` with bytes for activations and signed weights per channel.

    The ranges of activations are those that `tiles` (n, size, size, 3) bring about, averaged over
    batches: the few largest values are cut off, and the rest keeps a finer grid. `spare_first`
    leaves the first layer, which sees the tiles' own pixels, in fp32.

    Raises:
        RequestInvalid: the encoder has nothing to quantise.
    """
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = onnx.load(encoder)
    _name_nodes(model)
    scaling, first = _scaling_nodes(model)
    spared = [*scaling, first] if spare_first else scaling
    _widen_constants(model, scaling, width=tiles.shape[2])
    add_pre_process_metadata(model)  # exported graphs are simple already
    out.parent.mkdir(parents=True, exist_ok=True)
    quantize_static(
        model,
        out,
        _Batches(tiles, model.graph.input[0].name),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=weight_bits < 8,
        nodes_to_exclude=[node.name for node in spared],
        extra_options={"CalibMovingAverage": True},
    )


def write_fp16(encoder: Path, out: Path) -> None:
    """Write `encoder` as `out` with everything between bytes and features in fp16."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load(encoder), keep_io_types=True)
    onnx.checker.check_model(half, full_check=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(half, out)


class _Batches:
    """Calibration tiles as ONNX Runtime asks for them."""

    def __init__(self, tiles: RGB, name: str) -> None:
        starts = range(0, len(tiles), BATCH)
        self._feeds = iter([{name: tiles[start : start + BATCH]} for start in starts])

    def get_next(self) -> dict[str, RGB] | None:
        return next(self._feeds, None)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Name the nameless: nodes are left out of quantisation by name."""
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"


def _scaling_nodes(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], onnx.NodeProto]:
    """The nodes that turn bytes into normalised planes, which stay in fp32; and the one after."""
    nodes = list(model.graph.node)
    first = next((i for i, node in enumerate(nodes) if node.op_type in WEIGHERS), None)
    if first is None:
        raise RequestInvalid("the encoder has no convolution and no matrix: nothing to quantise")
    return nodes[:first], nodes[first]


def _widen_constants(model: onnx.ModelProto, scaling: list[onnx.NodeProto], width: int) -> None:
    """Spell constants per channel, (C, 1, 1), as (C, 1, width): the same numbers.

    ONNX Runtime scales in the layout of int8 convolutions, channels last, where a constant per
    channel is broadcast three numbers at a time: a third of a ShuffleNetV2's time.
    """
    read = {name for node in scaling for name in node.input}
    for constant in model.graph.initializer:
        if constant.name in read and tuple(constant.dims[-2:]) == (1, 1):
            wide = np.repeat(numpy_helper.to_array(constant), width, axis=-1)  # (C, 1, width)
            constant.CopyFrom(numpy_helper.from_array(wide, constant.name))
