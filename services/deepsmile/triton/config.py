"""Config: the `config.pbtxt` of every model, complete, so that a server need guess nothing."""

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from statistics import mode
from string import Template

from deepsmile.bundle import Bundle, bundle_names, load_bundle, superseded_bundles
from deepsmile.digest import digest_of_file
from deepsmile.disk import write_file
from deepsmile.errors import BundleMismatch
from deepsmile.triton.models import (
    ENCODER_SUFFIX,
    MODEL_FILE,
    Model,
    Tensor,
    headless_encoder,
    models_of,
)

CONFIG_FILE = "config.pbtxt"
MAX_BATCH = 64
"""Tiles that a server may put together in one call of the encoder."""
INSTANCES = 2
"""Of an encoder: one computes while the other hands over its tensors."""
MAX_DELAY_US = 1000
"""How long it may wait for more of them; a caller that is alone pays this in full."""


class Target(StrEnum):
    """What the server will run on."""

    CPU = "cpu"
    GPU = "gpu"
    """A GPU where there is one, and a CPU where not."""
    TENSORRT = "tensorrt"


HEADER = re.compile(rf"# Written by `deepsmile export --target ({'|'.join(Target)})`")
TEMPLATE = Template("""\
# Written by `deepsmile export --target $target`; export again rather than edit.
name: "$name"
backend: "onnxruntime"
default_model_filename: "$file"
max_batch_size: $max_batch
input [
  $input
]
output [
  $outputs
]
instance_group [ { count: $count kind: $kind } ]
version_policy { all { } }
model_warmup [
  $warmups
]
$more
$parameters
""")

BATCHING = f"dynamic_batching {{ max_queue_delay_microseconds: {MAX_DELAY_US} }}"
# No queue policy and no priorities: either makes the batcher sleep for half a second at a time.

# No engine cache: its keys hold names and shapes, never weights.
TENSORRT = Template("""
optimization { execution_accelerators { gpu_execution_accelerator [ {
  name: "tensorrt"
  parameters { key: "precision_mode" value: "FP32" }
  parameters { key: "trt_profile_min_shapes" value: "$input:1x$dims" }
  parameters { key: "trt_profile_opt_shapes" value: "$input:${batch}x$dims" }
  parameters { key: "trt_profile_max_shapes" value: "$input:${batch}x$dims" }
} ] } }""")


def digest_parameter(version: str) -> str:
    """Name of the parameter that says which bytes a version of a model has."""
    return f"deepsmile.sha256.{version}"


def write_configs(
    repository: Path, target: Target | None = None, *, coming: Bundle | None = None
) -> list[Path]:
    """Write the configuration of every model that the repository names, and tell where they are.

    Bundles name models, superseded ones too while they are there, and so do encoders without
    heads; so does the one that is `coming`, its models there already, in place of the one that
    has its name. Without a target it stays what it is, and is a GPU at first.

    Raises:
        BundleError: a bundle cannot be used, or two want one model in different shapes.
    """
    target = target or _target_now(repository)
    texts: dict[str, str] = {}
    for model in _named(repository, coming):
        digests = _digests(repository / model.name)
        if digests.get(model.version) != model.sha256:  # it was removed since
            continue
        text = config_text(model, digests, target)
        if texts.setdefault(model.name, text) != text:
            raise BundleMismatch(
                f"two bundles want {model.name} in different shapes",
                hint="Give a model of another shape a name of its own.",
            )
    written = {repository / name / CONFIG_FILE: text for name, text in texts.items()}
    for path, text in written.items():
        if not path.exists() or path.read_text() != text:  # servers load again what is written
            write_file(path, text)
    return list(written)


def _named(repository: Path, coming: Bundle | None) -> Iterator[Model]:
    for name in bundle_names(repository):
        if coming is None or coming.name != name:
            yield from models_of(load_bundle(repository, name))
    if coming is not None:
        yield from models_of(coming)
    for bundle in superseded_bundles(repository):
        yield from models_of(bundle)
    yield from map(headless_encoder, sorted(repository.glob(f"*{ENCODER_SUFFIX}")))


def _target_now(repository: Path) -> Target:
    """What most configurations of ours were written for."""
    texts = (path.read_text() for path in sorted(repository.glob(f"*/{CONFIG_FILE}")))
    found = [Target(match[1]) for match in map(HEADER.match, texts) if match]
    return mode(found) if found else Target.GPU


def config_text(model: Model, digests: dict[str, str], target: Target) -> str:
    """What Triton reads; `digests` are those of all versions there are.

    Heads stay on the CPU: a bag's attention takes milliseconds, less than its way to a GPU.
    """
    is_cpu = target is Target.CPU or not model.is_batched
    kinds = {Target.CPU: "KIND_CPU", Target.GPU: "KIND_AUTO", Target.TENSORRT: "KIND_GPU"}
    batches = [1]
    more = BATCHING if model.is_batched else "# No batching: two bags are never one."
    if model.is_batched and target is Target.TENSORRT:
        batches = [1, MAX_BATCH]
        more += _tensorrt(model)
    return TEMPLATE.substitute(
        target=target,
        name=model.name,
        file=MODEL_FILE,
        max_batch=MAX_BATCH if model.is_batched else 0,
        input=_tensor(model.input),
        outputs=",\n  ".join(map(_tensor, model.outputs)),
        count=INSTANCES if model.is_batched else 1,
        kind="KIND_CPU" if is_cpu else kinds[target],
        warmups=",\n  ".join(_warmup(model, batch) for batch in batches),
        more=more,
        parameters="\n".join(
            f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
            for key, value in (_options(is_cpu) | _provenance(digests)).items()
        ),
    )


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each version, superseded ones too: they stay served until they are removed."""
    files = [path for path in folder.glob(f"*/{MODEL_FILE}") if path.parent.name.isdecimal()]
    by_version = sorted(files, key=lambda path: int(path.parent.name))
    return {path.parent.name: digest_of_file(path) for path in by_version}


def _provenance(digests: dict[str, str]) -> dict[str, str]:
    return {digest_parameter(version): sha256 for version, sha256 in digests.items()}


def _options(is_cpu: bool) -> dict[str, str]:
    """ONNX Runtime's; as parameters, since as options of an accelerator they are ignored."""
    options = {
        "intra_op_thread_count": "0",
        # Spinning threads would take the cores from the readers of slides. NVIDIA's own backend
        # heeds no `session.*`; docs/operations.md says what to do there.
        "session.intra_op.allow_spinning": "0",
    }
    # 1: heuristic. Exhaustive search takes over half a second for every new size of a batch.
    return options if is_cpu else options | {"cudnn_conv_algo_search": "1"}


def _tensor(tensor: Tensor) -> str:
    return (
        f'{{ name: "{tensor.name}" data_type: TYPE_{tensor.type} dims: [ {_list(tensor.dims)} ] }}'
    )


def _warmup(model: Model, batch: int) -> str:
    """Loading fails unless the graph takes and gives what is promised here."""
    tensor = model.input
    dims = tensor.dims if model.is_batched else model.shape(tensor, 2)
    return (
        f'{{ name: "{batch}" batch_size: {batch} inputs {{ key: "{tensor.name}" value '
        f"{{ data_type: TYPE_{tensor.type} dims: [ {_list(dims)} ] zero_data: true }} }} }}"
    )


def _tensorrt(model: Model) -> str:
    dims = "x".join(map(str, model.input.dims))
    return TENSORRT.substitute(input=model.input.name, dims=dims, batch=MAX_BATCH)


def _list(dims: tuple[int, ...]) -> str:
    return ", ".join(map(str, dims))
