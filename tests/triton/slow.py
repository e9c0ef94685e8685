"""A server with two instances of an encoder that can be made slow."""

import py_compile
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepsmile.triton.config import CONFIG_FILE
from deepsmile.triton.install import OUR_BACKEND

if TYPE_CHECKING:
    from tests.triton.conftest import StartServer

BATCHING = "dynamic_batching {"


@dataclass(frozen=True)
class SlowServer:
    """Where it is, and where its encoder looks how slow it is to be."""

    url: str
    delays: Path

    def delay(self, seconds: float) -> None:
        """Keep one answer waiting so long."""
        partial = self.delays / f"{time.monotonic_ns()}"
        partial.write_text(str(seconds))
        partial.rename(partial.with_suffix(".delay"))

    @contextmanager
    def pace(self, seconds: float) -> Iterator[None]:
        """In here every call of the encoder takes so long; what waited before is forgotten."""
        for left in self.delays.glob("*.delay"):
            left.unlink()
        partial = self.delays / "partial"
        partial.write_text(str(seconds))
        pace = partial.rename(self.delays / "pace")
        try:
            yield
        finally:
            pace.unlink()


@contextmanager
def slow_server(
    start_server: "StartServer", repository: Path, *, queue_policy: str = ""
) -> Iterator[SlowServer]:
    """Serve a repository of the tiny bundle, its encoder wrapped by `slow_model.py`."""
    folder = repository / "tiny_encoder"
    model = shutil.copy(Path(__file__).with_name("slow_model.py"), folder / "1" / "model.py")
    py_compile.compile(str(model))  # by the server it would be a change, at which it loads again
    (folder / "1" / "ours.txt").write_text(str(OUR_BACKEND))
    delays = repository.with_name("delays")
    delays.mkdir()
    config = (folder / CONFIG_FILE).read_text()
    assert BATCHING in config
    config = config.replace('"onnxruntime"', '"python"').replace('"model.onnx"', '"model.py"')
    config = config.replace("KIND_AUTO", "KIND_CPU")
    config = config.replace(BATCHING, f"{BATCHING} {queue_policy}")
    (folder / CONFIG_FILE).write_text(config)
    server = start_server(repository)
    try:
        yield SlowServer(server.url, delays)
    finally:
        server.kill()
