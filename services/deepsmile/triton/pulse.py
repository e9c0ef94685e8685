"""Pulse: whether our models on a server answer; that they are said to be ready proves nothing."""

from typing import Any

import numpy as np

from deepsmile.errors import InferenceUnavailable
from deepsmile.triton.config import digest_parameter
from deepsmile.triton.connection import LATE, QUEUE_FULL, tritonclient_grpc

ASKED = 4
"""Times that each model is asked, since one of its instances may be dead and the others not."""


def silent_models(url: str, timeout_s: float) -> dict[str, str]:
    """Our models that are said to be ready and do not answer, with what came instead.

    What others serve beside them is theirs to watch.

    Raises:
        InferenceUnavailable: the server itself does not answer.
    """
    grpc = tritonclient_grpc()
    client = grpc.InferenceServerClient(url)
    silent = {}
    try:
        listed = client.get_model_repository_index(client_timeout=timeout_s).models
        for model in (model for model in listed if model.state == "READY"):
            try:
                if _is_ours(client, model, timeout_s):
                    _ask(client, grpc, model, timeout_s)
            except grpc.InferenceServerException as error:
                silent[f"{model.name} version {model.version}"] = error.message()
    except grpc.InferenceServerException as error:
        raise InferenceUnavailable(f"Triton at {url}: {error.message()}") from error
    finally:
        client.close()
    return silent


def _is_ours(client: Any, model: Any, timeout_s: float) -> bool:  # noqa: ANN401
    """Whether its configuration says which bytes it has, as those do that we write."""
    told = client.get_model_config(model.name, model.version, client_timeout=timeout_s)
    return digest_parameter(model.version) in told.config.parameters


def _ask(client: Any, grpc: Any, model: Any, timeout_s: float) -> None:  # noqa: ANN401
    """Send one tile, or a bag of one, of zeros; as often as `ASKED` says."""
    from tritonclient.utils import triton_to_np_dtype

    place = {"model_name": model.name, "model_version": model.version}
    told = client.get_model_metadata(**place, client_timeout=timeout_s)
    given = []
    for tensor in told.inputs:
        zeros = np.zeros([max(dim, 1) for dim in tensor.shape], triton_to_np_dtype(tensor.datatype))
        given.append(grpc.InferInput(tensor.name, zeros.shape, tensor.datatype))
        given[-1].set_data_from_numpy(zeros)
    before = _computed(client, model, timeout_s)
    try:
        for _ in range(ASKED):
            client.infer(inputs=given, **place, client_timeout=timeout_s)
    except grpc.InferenceServerException as error:
        is_busy = error.status() == LATE and _computed(client, model, timeout_s) > before
        if not is_busy and QUEUE_FULL not in error.message():
            raise  # and is not silent only because others were first


def _computed(client: Any, model: Any, timeout_s: float) -> int:  # noqa: ANN401
    """How often it has computed something, for whomever."""
    told = client.get_inference_statistics(model.name, model.version, client_timeout=timeout_s)
    return int(told.model_stats[0].execution_count)
