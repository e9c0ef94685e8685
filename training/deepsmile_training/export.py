"""Export: a torch module as one ONNX file, the same bytes each time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

OPSET = 20


def export_onnx(
    module: nn.Module,
    example: torch.Tensor,
    path: Path,
    *,
    input_name: str,
    output_names: Sequence[str],
    dynamic: Mapping[int, str],
) -> None:
    """Write `module`, frozen, as `path`; the axes in `dynamic` of its one input may vary.

    Source locations that the exporter notes in the graph are removed: they name folders of
    this machine and would change the file's digest.
    """
    shapes = {axis: torch.export.Dim(name) for axis, name in dynamic.items()}
    program = torch.onnx.export(
        module.eval(),
        (example,),
        dynamo=True,
        input_names=[input_name],
        output_names=list(output_names),
        dynamic_shapes=(shapes,),
        opset_version=OPSET,
        external_data=False,
        verbose=False,
    )
    assert program is not None, "the dynamo exporter always returns its program"
    model = program.model_proto
    _forget_origins(model)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def _forget_origins(model: onnx.ModelProto) -> None:
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    parts = (model.graph.node, model.graph.input, model.graph.output, model.graph.initializer)
    for part in parts:
        for item in part:
            item.ClearField("metadata_props")
            item.ClearField("doc_string")
