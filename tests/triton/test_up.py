"""`deepsmile up --triton`: the whole service with a server that it starts and watches over."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import psutil
import pytest

from deepsmile.client import Client
from deepsmile.loopback import is_answering
from deepsmile.report import Report, differences
from deepsmile.settings import Settings
from deepsmile.stack import Stack
from deepsmile.triton.config import INSTANCES
from deepsmile.triton.install import Installation
from deepsmile.triton.server import PREFIX
from tests.e2e.test_up import Up, is_alive
from tests.service import free_port, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def up(tmp_path: Path, served: Path, installation: Installation) -> Iterator[Up]:
    running = Up(tmp_path, served, "--triton")
    wait_until(lambda: running.is_ready or running.process.poll() is not None, 60)
    assert running.is_ready, running.log.read_text()
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGINT)
        running.process.wait(60)


def processes(up: Up, word: str) -> list[psutil.Process]:
    """Those of the service that have a word in their command line."""
    found = psutil.Process(up.process.pid).children(recursive=True)
    return [process for process in found if is_alive(process) and word in str(process.cmdline())]


def prefix_of(server: psutil.Process) -> str:
    """How the names of the memory begin that a server shares with its stubs."""
    told = (part.partition(f"{PREFIX}=")[2] for part in server.cmdline())
    return next(name for name in told if name)


def predict(up: Up, slide: Path) -> Report:
    with Client(up.url) as client:
        report = client.wait(client.predict(slide, fresh=True).id, timeout_s=90).result
    assert report is not None
    return report


def test_it_scores_survives_the_death_of_its_parts_and_leaves_nothing(
    up: Up, slide_path: Path
) -> None:
    (server,) = processes(up, "bin/tritonserver")
    memory = prefix_of(server)
    assert list(Path("/dev/shm").glob(f"{memory}*")) != []
    here = Report.model_validate_json(up.run("score", str(slide_path), "--json").stdout)
    there = predict(up, slide_path)
    assert differences(here, there) == []
    assert there.run.backend == "triton 2.51.0 over shared memory"

    stub, *others = processes(up, "tiny_encoder/")
    assert len(others) == INSTANCES - 1
    stub.kill()
    assert differences(here, predict(up, slide_path)) == []

    wait_until(lambda: len(set(processes(up, "tiny_encoder/")) - {*others}) == INSTANCES, 30)
    (server,) = processes(up, "bin/tritonserver")
    server.kill()
    assert differences(here, predict(up, slide_path)) == []

    started = psutil.Process(up.process.pid).children(recursive=True)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    psutil.wait_procs(started, 10)
    assert [process for process in started if is_alive(process)] == []
    assert list(Path("/dev/shm").glob(f"{memory}*")) == []


def test_without_a_server_it_is_told_at_once_and_nothing_starts(
    tmp_path: Path, repository: Path
) -> None:
    refused = Up(tmp_path, repository, "--triton", triton_server=str(tmp_path))
    assert refused.process.wait(30) == 1
    assert "backend_missing" in refused.log.read_text()
    assert "make triton" in refused.log.read_text()


LATE = """#!{python}
import http.server, pathlib, sys, time
if "--help" in sys.argv:
    sys.exit()
(port,) = (int(a.partition("=")[2]) for a in sys.argv if a.startswith("--http-port="))
while not pathlib.Path("{go}").exists():
    time.sleep(0.05)

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", port), Ready).serve_forever()
"""


def test_a_server_that_builds_its_engines_first_has_time_of_its_own(
    tmp_path: Path, repository: Path
) -> None:
    """Longer than the API; it answers once the file is there."""
    program, go = tmp_path / "triton" / "bin" / "tritonserver", tmp_path / "go"
    program.parent.mkdir(parents=True)
    (tmp_path / "triton" / "backends" / "onnxruntime").mkdir(parents=True)
    program.write_text(LATE.format(python=sys.executable, go=go))
    program.chmod(0o755)
    settings = Settings(
        data_dir=tmp_path / "data",
        model_repository=repository,
        default_bundle="tiny",
        port=free_port(),
        triton_server=str(program),
    )
    with (tmp_path / "log").open("wb") as log, Stack(settings, log, with_triton=True) as stack:
        wait_until(lambda: is_answering(f"{stack.url}/readyz"))
        late = Timer(1.0, go.touch)
        late.start()
        stack.wait_ready(0.3)
        assert go.exists()
        late.join()
