"""Triton's backend "onnxruntime", in Python, for servers that come without NVIDIA's own.

It runs inside Triton's Python stub, not inside DeepSMILE, and serves the same repository. Of a
model's configuration it heeds `max_batch_size`, `input`, `output`, `instance_group` and the
parameters `intra_op_thread_count`, `cudnn_conv_algo_search` and `session.*`. On a CPU, what comes
together is cut into small equal parts, one thread each, unless a number of threads is given.
"""

import ctypes
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton
from numpy.typing import NDArray

Array = NDArray[Any]
PART = 4
"""Tiles that a thread takes at a time: more of them fall out of a CPU's caches."""
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
CUDNN_SEARCHES = {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"}

_forget_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
_forget_destructor.argtypes = [ctypes.py_object, ctypes.c_void_p]


def received(tensor: Any) -> Array:  # noqa: ANN401
    """The array in a tensor, read-only.

    By DLPack: stubs built before pybind11 2.12 garble what numpy 2 hands them, without a word.
    """
    array: Array = np.from_dlpack(tensor)
    return array


def sent(name: str, array: Array) -> Any:  # noqa: ANN401
    """A tensor that holds an array, by DLPack as well.

    Triton takes the capsule over and renames it, at which numpy's destructor would complain.
    """
    own = np.require(array, requirements=["C", "W"])
    capsule = own.__dlpack__()
    _forget_destructor(capsule, None)
    return triton.Tensor.from_dlpack(name, capsule)


class TritonPythonModel:
    """One instance of one version of a model."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the graph; Triton calls this once."""
        config = json.loads(args["model_config"])
        parameters = {k: v["string_value"] for k, v in config["parameters"].items()}
        threads = int(parameters.get("intra_op_thread_count", 0))
        on_gpu = args["model_instance_kind"] == "GPU"
        if on_gpu:
            onnxruntime.preload_dlls()  # pip's CUDA libraries are on no loader's path
        self._is_batched = config["max_batch_size"] > 0
        # Callers with a thread each beat one call with all threads, by 1.2 to 1.35 times.
        self._callers = 1
        if self._is_batched and not on_gpu and threads == 0:
            threads, self._callers = 1, len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._callers)
        path = Path(args["model_repository"], args["model_version"], "model.onnx")
        self._session = onnxruntime.InferenceSession(
            path,
            _options(parameters, threads),
            providers=_providers(parameters, args["model_instance_device_id"] if on_gpu else None),
        )
        if on_gpu and CUDA not in self._session.get_providers():  # else it is slow, and silent
            raise triton.TritonModelException(f"{CUDA} does not load; the server's log says why")
        self._inputs = [item["name"] for item in config["input"]]
        self._outputs = [item["name"] for item in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests, in their order. What it raises, Triton answers to each of them."""
        feeds = [
            {n: received(triton.get_input_tensor_by_name(r, n)) for n in self._inputs}
            for r in requests
        ]
        answers = self._run_together(feeds) if self._is_batched else list(map(self._run, feeds))
        return [
            triton.InferenceResponse(
                [sent(name, answer[name]) for name in request.requested_output_names()]
            )
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _run(self, feed: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))

    def _run_in_parts(self, feed: dict[str, Array]) -> dict[str, Array]:
        """As many equal parts as keep every caller busy to the end; one for a single caller."""
        tiles = len(feed[self._inputs[0]])
        if self._callers == 1:
            return self._run(feed)
        rounds = math.ceil(tiles / (self._callers * PART))
        cuts = np.arange(0, tiles, math.ceil(tiles / (self._callers * rounds)))[1:]
        split = {n: np.split(array, cuts) for n, array in feed.items()}
        parts = [{n: split[n][i] for n in self._inputs} for i in range(len(cuts) + 1)]
        answers = list(self._pool.map(self._run, parts))
        return {n: np.concatenate([answer[n] for answer in answers]) for n in self._outputs}

    def _run_together(self, feeds: list[dict[str, Array]]) -> list[dict[str, Array]]:
        sizes = [len(feed[self._inputs[0]]) for feed in feeds]
        whole = self._run_in_parts({n: np.concatenate([f[n] for f in feeds]) for n in self._inputs})
        parts = {n: np.split(array, np.cumsum(sizes)[:-1]) for n, array in whole.items()}
        return [{n: parts[n][i] for n in self._outputs} for i in range(len(feeds))]


def _options(parameters: Mapping[str, str], threads: int) -> Any:  # noqa: ANN401
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in parameters.items():
        if key.startswith("session."):
            options.add_session_config_entry(key, value)
    return options


def _providers(parameters: Mapping[str, str], device: str | None) -> list[Any]:
    if device is None:
        return [CPU]
    search = CUDNN_SEARCHES[parameters.get("cudnn_conv_algo_search", "0")]
    cuda = {"device_id": device, "cudnn_conv_algo_search": search}
    return [(CUDA, cuda), CPU]
