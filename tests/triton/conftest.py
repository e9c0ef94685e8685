"""Fixtures: a real Triton server, shared by tests that leave it alone, or one's own."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from deepsmile.bundle import Bundle
from deepsmile.errors import BackendMissing
from deepsmile.triton.config import Target, write_configs
from deepsmile.triton.connection import Endpoint, Transport
from deepsmile.triton.install import Installation, find_triton
from deepsmile.triton.server import Ports, TritonServer
from tests.making import tissue_image, write_svs
from tests.triton.slow import SlowServer, slow_server

START_S = 30.0

StartServer = Callable[[Path], TritonServer]
"""Starts a server on a model repository; the caller ends it."""


class HasUrl(Protocol):
    """A server, or a proxy before it."""

    @property
    def url(self) -> str: ...


def endpoint(server: HasUrl, transport: Transport = "auto", **changes: float) -> Endpoint:
    """Two requests in flight, and quick to lose patience."""
    fields = {"in_flight": 2, "timeout_s": 10.0, "patience_s": 15.0, **changes}
    return Endpoint(server.url, transport, **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def installation() -> Installation:
    try:
        return find_triton()
    except BackendMissing as error:
        pytest.skip(f"{error.detail}: {error.hint}")


@pytest.fixture(scope="session")
def start_server(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> StartServer:
    def start(repository: Path) -> TritonServer:
        home = tmp_path_factory.mktemp("triton")
        server = TritonServer(
            installation, repository, home=home, ports=Ports.free(), log=home / "log"
        )
        server.start()
        server.wait_live(START_S)
        return server

    return start


@pytest.fixture(scope="session")
def triton(
    start_server: StartServer, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """A server with the tiny bundle, for tests that leave it as it is."""
    repository = copy_of(bundle, tmp_path_factory.mktemp("served"))
    server = start_server(repository)
    yield server
    server.stop()


@pytest.fixture
def served(bundle: Bundle, tmp_path: Path) -> Path:
    """The model repository of `own`, to be changed at will."""
    return copy_of(bundle, tmp_path)


@pytest.fixture
def own(start_server: StartServer, served: Path) -> Iterator[TritonServer]:
    """A server of the test's own, to be killed at will."""
    server = start_server(served)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def slow(
    start_server: StartServer, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SlowServer]:
    """For the tests of a module, which leave it as quick as it was."""
    with slow_server(start_server, copy_of(bundle, tmp_path_factory.mktemp("slow"))) as server:
        yield server


@pytest.fixture(scope="session")
def big_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 50 tiles."""
    image = tissue_image(4200, 4200, tissue=0.9)
    return write_svs(tmp_path_factory.mktemp("big") / "slide.svs", image)


def copy_of(bundle: Bundle, folder: Path) -> Path:
    """A bundle's repository, configured, as a server has it."""
    repository = Path(shutil.copytree(bundle.root, folder / "repository"))
    write_configs(repository, Target.GPU)
    return repository
