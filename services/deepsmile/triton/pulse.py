"""Pulse: whether the models of a server answer; that they are said to be ready proves nothing."""

from typing import Any

import numpy as np

from deepsmile.errors import InferenceUnavailable
from deepsmile.triton.connection import tritonclient_grpc
from deepsmile.triton.models import NUMPY_TYPES

ASKED = 4
"""Times that each model is asked, since one of its instances may be dead and the others not."""


def silent_models(url: str, timeout_s: float) -> dict[str, str]:
    """The models that are said to be ready and do not answer, with what came instead.

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
                _ask(client, grpc, model, timeout_s)
            except grpc.InferenceServerException as error:
                silent[f"{model.name} version {model.version}"] = error.message()
    except grpc.InferenceServerException as error:
        raise InferenceUnavailable(f"Triton at {url}: {error.message()}") from error
    finally:
        client.close()
    return silent


def _ask(client: Any, grpc: Any, model: Any, timeout_s: float) -> None:  # noqa: ANN401
    """Send one tile, or a bag of one, of zeros; as often as `ASKED` says."""
    place = {"model_name": model.name, "model_version": model.version}
    told = client.get_model_metadata(**place, client_timeout=timeout_s)
    given = []
    for tensor in told.inputs:
        zeros = np.zeros([max(dim, 1) for dim in tensor.shape], NUMPY_TYPES[tensor.datatype])
        given.append(grpc.InferInput(tensor.name, zeros.shape, tensor.datatype))
        given[-1].set_data_from_numpy(zeros)
    for _ in range(ASKED):
        client.infer(inputs=given, **place, client_timeout=timeout_s)
