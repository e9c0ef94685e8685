"""The pulse: only our own models are asked, whatever else a server has."""

from pathlib import Path

import pytest

from deepsmile.triton.config import CONFIG_FILE, digest_parameter
from deepsmile.triton.pulse import silent_models
from tests.triton.conftest import StartServer

pytestmark = pytest.mark.slow

CONFIG = """
name: "stranger"
backend: "python"
max_batch_size: 0
input [ { name: "x" data_type: TYPE_INT64 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_INT64 dims: [ 2 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
OURS = f'parameters {{ key: "{digest_parameter("1")}" value {{ string_value: "{"0" * 64}" }} }}'
MODEL = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        raise pb_utils.TritonModelException("I answer nobody")
"""


@pytest.fixture(params=["", OURS], ids=["a stranger's", "said to be ours"])
def added(request: pytest.FixtureRequest, served: Path) -> str:
    """A model beside ours that takes integers and answers nobody."""
    folder = served / "stranger"
    (folder / "1").mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(CONFIG + request.param)
    (folder / "1" / "model.py").write_text(MODEL)
    return str(request.param)


def test_only_models_that_say_which_bytes_they_are_must_answer(
    added: str, served: Path, start_server: StartServer
) -> None:
    server = start_server(served)
    try:
        silent = silent_models(server.url, 10)
    finally:
        server.kill()
    assert list(silent) == (["stranger version 1"] if added else [])
    assert all("I answer nobody" in why for why in silent.values())
